"""Receive webhooks in Flask: functions are called by event type, after the answer."""

import os
from wsgiref.simple_server import make_server

from flask import Flask
from pydantic import BaseModel

from hookkeeper_client.flask import webhook
from hookkeeper_client.receiving import Event, Receiver


class Order(BaseModel):
    order: int


receiver = Receiver(os.environ["WEBHOOK_SECRET"])
app = Flask(__name__)
app.add_url_rule("/hook", view_func=webhook(receiver))


@receiver.on("order.*", Order)
def order(event: Event[Order]) -> None:
    print(f"{event.id}  {event.type}  order {event.data.order}", flush=True)


if __name__ == "__main__":
    with make_server("127.0.0.1", int(os.environ.get("PORT", "9000")), app) as server:
        print(f"Listening on http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
