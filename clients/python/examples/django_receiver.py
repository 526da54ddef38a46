"""Receive webhooks in Django: functions are called by event type, after the answer."""

import os
import secrets
from wsgiref.simple_server import make_server

from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.urls import path
from pydantic import BaseModel

settings.configure(ROOT_URLCONF=__name__, SECRET_KEY=secrets.token_hex(), ALLOWED_HOSTS=["127.0.0.1"])

from hookkeeper_client.django import webhook  # noqa: E402 - settings come first
from hookkeeper_client.receiving import Event, Receiver  # noqa: E402


class Order(BaseModel):
    order: int


receiver = Receiver(os.environ["WEBHOOK_SECRET"])
urlpatterns = [path("hook", webhook(receiver))]


@receiver.on("order.*", Order)
def order(event: Event[Order]) -> None:
    print(f"{event.id}  {event.type}  order {event.data.order}", flush=True)


if __name__ == "__main__":
    with make_server("127.0.0.1", int(os.environ.get("PORT", "9000")), get_wsgi_application()) as server:
        print(f"Listening on http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
