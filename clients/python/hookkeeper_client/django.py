"""A Django view that receives webhooks: `path("hook", webhook(receiver))`."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from hookkeeper_client.receiving import MAX_BODY, Receiver, Refused


def webhook(receiver: Receiver) -> Callable[[HttpRequest], HttpResponse]:
    """Return a view for POST. It needs no CSRF token, because requests are signed."""

    def view(request: HttpRequest) -> HttpResponse:
        if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_BODY:
            return HttpResponse("too large", status=413, content_type="text/plain")
        try:
            event = receiver.receive(request.body, request.headers)
        except Refused as error:
            return HttpResponse(str(error), status=error.status, content_type="text/plain")
        return HttpResponse("accepted" if event else "duplicate", status=202, content_type="text/plain")

    exempt: Callable[[HttpRequest], HttpResponse] = csrf_exempt(require_POST(view))
    return exempt
