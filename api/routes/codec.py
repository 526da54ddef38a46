"""Decrypts payloads for Temporal's web UI and command line: a codec server, as Temporal calls it.

The web UI sends its requests from the operator's browser, without a key. So the operator enters the admin key once, on
the page `/codec`, and gets a cookie, which browsers send within one site only: web UI and API must have the same
domain, but not the same port. Temporal's command line sends the key itself: `--codec-auth 'Bearer hk_…'`.
"""

import hmac
from collections.abc import Callable, Coroutine
from html import escape
from typing import Any
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from temporalio.api.common.v1 import Payloads

from api.deps import AuthenticatorDep, GatewayDep, SettingsDep
from api.errors import as_problem
from api.forms import KeylessFormRoute
from api.problems import Forbidden, Malformed, Problem, Unauthorized, responses
from api.requests import StrictRoute, read_form
from api.sessions import CODEC, SESSION_SCHEME
from api.state import state_of
from hookkeeper.crypto.keyring import CipherError
from hookkeeper.services.errors import Invalid, ServiceError
from hookkeeper.settings import Settings
from hookkeeper.times import utc_now

MAX_BYTES = 16 * 1024 * 1024
"""Bytes of the payloads of one request; Temporal's largest messages have 4 MB."""
OPERATOR = "operator"
"""The subject of the cookie: there is one admin key."""
_BYTES = {"type": ["string", "null"], "format": "byte"}
_PAYLOAD = {
    "type": "object",
    "properties": {
        "metadata": {"type": ["object", "null"], "additionalProperties": {"type": "string", "format": "byte"}},
        "data": _BYTES,
    },
}
_PAYLOADS = {"type": "object", "properties": {"payloads": {"type": "array", "items": _PAYLOAD}}}
_EXAMPLE = {"payloads": [{"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "eyJvcmRlciI6NDcxMX0="}]}
TAKES_PAYLOADS = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": _PAYLOADS, "examples": {"payload": {"value": _EXAMPLE}}}},
    },
    "security": [{"HTTPBearer": []}, {SESSION_SCHEME: []}],
}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"schema": _PAYLOADS, "examples": {"payload": {"value": _EXAMPLE}}}}},
    **responses(400, 401, 403, 413, 415, 422, 429),
}
SECURE_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'",
    "cache-control": "no-store",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Hookkeeper: read payloads</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem; }}
  input {{ font: inherit; width: 100%; padding: .4rem; box-sizing: border-box; }}
  button {{ font: inherit; padding: .4rem 1rem; margin-top: .8rem; }}
  code {{ background: #8882; padding: .1rem .3rem; }}
</style>
<h1>Read payloads in the Temporal web UI</h1>
{body}
</html>
"""
FORM = """<p>Payloads in Temporal are encrypted. Enter the admin key to decrypt them in this browser for 12 hours.</p>
{error}
<form method="post" action="/codec">
  <label for="key">Admin key</label>
  <input id="key" name="key" type="password" autocomplete="current-password" required autofocus>
  <button>Sign in</button>
</form>
"""
SIGNED_IN = """<p><strong>Signed in</strong> for 12 hours.{link}</p>
<p>If the web UI reports that the codec server could not connect, configure it once in each browser to send the cookie:
click the glasses at the top, choose <em>Use my browser setting and ignore Cluster-level setting</em>, enter</p>
<p><code>{endpoint}</code></p>
<p>switch on <em>Include cross-origin credentials</em>, and apply. With
<code>TEMPORAL_CODEC_INCLUDE_CREDENTIALS=true</code>, a web UI does so by default; the one of
<code>hookkeeper dev</code> has no such setting.</p>
<form method="post" action="/codec"><button name="end" value="1">Sign out</button></form>
"""


class CodecRoute(StrictRoute):
    """A route for the web UI's pages and no others, with the admin key or the cookie."""

    max_body_bytes = MAX_BYTES

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_for_ui(request: Request) -> Response:
            settings = state_of(request).settings
            headers = _cors_headers(request.headers.get("origin"), settings)
            try:
                if request.method != "OPTIONS":
                    await _admit(request, settings)
                response = await handle(request)
            except (Problem, ServiceError) as error:  # without these headers, the web UI could not even say why
                problem = as_problem(error)
                problem.headers = {**(problem.headers or {}), **headers}
                raise problem from None
            response.headers.update(headers)
            return response

        return handle_for_ui


router = APIRouter(prefix="/codec", tags=["codec"], route_class=CodecRoute)
page_router = APIRouter(prefix="/codec", tags=["codec"], route_class=KeylessFormRoute)


@router.options("/decode", include_in_schema=False)
@router.options("/encode", include_in_schema=False)
async def may_ask() -> Response:
    """Answer the preflight request of a browser (CORS)."""
    return Response(status_code=204)


@router.post("/decode", summary="Decrypt payloads", responses=ANSWERS, openapi_extra=TAKES_PAYLOADS)
async def decode(request: Request, gateway: GatewayDep) -> Response:
    """Decrypt payloads (`temporal.api.common.v1.Payloads` as JSON). Payloads that are not encrypted are returned as is.

    It needs the admin key, or the cookie that `POST /codec` sets.
    """
    payloads = await _read(request)
    if codec := gateway.payload_codec:
        try:
            payloads = Payloads(payloads=await codec.decode(payloads.payloads))
        except CipherError as error:
            raise Invalid(f"A payload cannot be read: it is {error}.") from None
    return JSONResponse(MessageToDict(payloads))


@router.post("/encode", summary="Encrypt payloads", responses=ANSWERS, openapi_extra=TAKES_PAYLOADS)
async def encode(request: Request, gateway: GatewayDep) -> Response:
    """Encrypt payloads: the web UI does so with the input of a signal.

    It needs the admin key, or the cookie that `POST /codec` sets.
    """
    payloads = await _read(request)
    if codec := gateway.payload_codec:
        payloads = Payloads(payloads=await codec.encode(payloads.payloads))
    return JSONResponse(MessageToDict(payloads))


@page_router.get("", summary="Show the sign-in page", response_class=HTMLResponse)
async def show_page(request: Request, settings: SettingsDep) -> Response:
    """Show the page where an operator signs in, so that the Temporal web UI can decrypt payloads."""
    if not _has_cookie(request, settings):
        return _page(sign_in_page())
    return _page(signed_in_page(f"{settings.public_url}/codec", settings.temporal_ui_url))


@page_router.post(
    "",
    summary="Sign in or out",
    status_code=303,
    response_class=Response,
    responses={401: {"description": "Not the admin key", "content": {"text/html": {}}}, **responses(400, 413, 429)},
)
async def sign_in(request: Request, settings: SettingsDep, authenticator: AuthenticatorDep) -> Response:
    """Set the cookie if the form field `key` has the admin key; delete it if the form has the field `end`."""
    form = await read_form(request)
    if "key" in form and not _is_admin_key(form["key"], settings):
        await authenticator.count_failure(request)
        return _page(sign_in_page("This is not the admin key."), 401)
    response = Response(status_code=303, headers={"location": "/codec", **SECURE_HEADERS})
    if "key" in form:
        CODEC.put(response, CODEC.token(OPERATOR, settings, utc_now()), settings)
    elif "end" in form and _has_cookie(request, settings):  # a form of another site comes without the cookie
        CODEC.put(response, "", settings)
    return response


def _page(html: str, status: int = 200) -> Response:
    return HTMLResponse(html, status, headers=SECURE_HEADERS)


async def _read(request: Request) -> Payloads:
    body = await request.json()
    given = body.get("payloads", []) if isinstance(body, dict) else None
    # protobuf would take null for no payloads, and a string or a list for an object without fields.
    if not isinstance(given, list) or not all(isinstance(payload, dict) for payload in given):
        raise Malformed("The body is not a JSON object with payloads.")
    try:
        return ParseDict(body, Payloads(), ignore_unknown_fields=True)
    except ParseError as error:
        raise Malformed("The body does not contain Temporal payloads.") from error


async def _admit(request: Request, settings: Settings) -> None:
    """Raise Forbidden for a page of another site, Unauthorized or RateLimited without the admin key or the cookie."""
    if request.headers.get("origin") not in (None, _ui_origin(settings)):
        raise Forbidden("Only the Temporal web UI at HOOKKEEPER_TEMPORAL_UI_URL may call this from a browser.")
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    is_keyed = scheme.lower() == "bearer"
    if (is_keyed and _is_admin_key(key.strip(), settings)) or _has_cookie(request, settings):
        return
    if is_keyed:
        await state_of(request).authenticator.count_failure(request)
    raise Unauthorized("The admin key is required: enter it at /codec.", headers={"www-authenticate": "Bearer"})


def _cors_headers(origin: str | None, settings: Settings) -> dict[str, str]:
    if origin is None or origin != _ui_origin(settings):
        return {"vary": "origin"}
    return {
        "vary": "origin",
        "access-control-allow-origin": origin,
        "access-control-allow-credentials": "true",
        "access-control-allow-methods": "POST",
        "access-control-allow-headers": "content-type, x-namespace",
        "access-control-max-age": "600",
    }


def _ui_origin(settings: Settings) -> str | None:
    """Return the web UI's origin as browsers send it."""
    if settings.temporal_ui_url is None:
        return None
    url = urlsplit(settings.temporal_ui_url)
    return f"{url.scheme}://{url.netloc}".lower()


def _has_cookie(request: Request, settings: Settings) -> bool:
    return CODEC.subject(CODEC.of(request), settings, utc_now()) == OPERATOR


def _is_admin_key(key: str, settings: Settings) -> bool:
    return any(hmac.compare_digest(key.encode(), admin.encode()) for admin in settings.admin_keys)


def sign_in_page(error: str = "") -> str:
    """Return the page with the form for the admin key."""
    return PAGE.format(body=FORM.format(error=f"<p role=alert><strong>{escape(error)}</strong></p>" if error else ""))


def signed_in_page(endpoint: str, ui_url: str | None) -> str:
    """Return the page that describes the settings of the web UI."""
    link = f' Go to <a href="{escape(ui_url)}">the web UI</a>.' if ui_url else ""
    return PAGE.format(body=SIGNED_IN.format(link=link, endpoint=escape(endpoint)))
