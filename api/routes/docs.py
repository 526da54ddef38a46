"""The API's documentation page: Swagger UI, served from an installed package, without any other host."""

import asyncio
from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.staticfiles import StaticFiles

from hookkeeper.services.errors import NotFound

SECURE_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "cache-control": "no-cache",  # with ETags: a browser asks whether its copy is still current
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Hookkeeper API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="docs/swagger-ui.css">
<div id="swagger-ui"></div>
<noscript>This page needs JavaScript. The OpenAPI document is at <a href="openapi.json">openapi.json</a>.</noscript>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</html>
"""
START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null,
});
"""
"""`validatorUrl`: by default, Swagger UI shows a badge of a validator on another host."""
PACKAGED = ("swagger-ui.css", "swagger-ui-bundle.js")

router = APIRouter(include_in_schema=False)
_assets = StaticFiles(directory=str(files("fastapi_offline") / "static"))


@router.get("/openapi.json")
async def show_document(request: Request) -> Response:
    """Return the OpenAPI document. The first request generates and writes it, in a thread: that takes 0.2 seconds."""
    app = request.app
    if not hasattr(app.state, "openapi_json"):
        app.state.openapi_json = await asyncio.to_thread(lambda: JSONResponse(app.openapi()).body)
    return Response(app.state.openapi_json, media_type="application/json")


@router.get("/docs")
async def show_docs() -> Response:
    """Show the documentation page."""
    return HTMLResponse(PAGE, headers=SECURE_HEADERS)


@router.get("/docs/{asset}")
async def show_asset(asset: Annotated[str, Path()], request: Request) -> Response:
    """Serve a script or the style sheet of the page."""
    if asset == "start.js":
        return Response(START, media_type="text/javascript", headers=SECURE_HEADERS)
    if asset not in PACKAGED:
        raise NotFound("The documentation page has no such asset.")
    response = await _assets.get_response(asset, request.scope)
    response.headers.update(SECURE_HEADERS)
    return response
