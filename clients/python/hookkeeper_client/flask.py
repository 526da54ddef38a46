"""A Flask view that receives webhooks: `app.add_url_rule("/hook", view_func=webhook(receiver))`."""

from collections.abc import Callable

from flask import request
from flask.typing import ResponseReturnValue

from hookkeeper_client.receiving import MAX_BODY, Receiver, Refused


def webhook(receiver: Receiver) -> Callable[[], ResponseReturnValue]:
    """Return a view for POST."""

    def view() -> ResponseReturnValue:
        request.max_content_length = MAX_BODY  # a larger one is answered 413
        try:
            event = receiver.receive(request.get_data(), dict(request.headers))
        except Refused as error:
            return str(error), error.status
        return "accepted" if event else "duplicate", 202

    view.methods = ["POST"]  # type: ignore[attr-defined]
    return view
