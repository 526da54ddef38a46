"""Style sheet, script and icon of the pages: files of our own, named by their content so that browsers keep them."""

import hashlib
from importlib.resources import files
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from hookkeeper.services.errors import NotFound

TYPES = {"css": "text/css", "js": "text/javascript", "svg": "image/svg+xml"}
A_YEAR = "public, max-age=31536000, immutable"

router = APIRouter(prefix="/static", include_in_schema=False)
_contents = {
    file.name: file.read_bytes()
    for file in files("dashboard").joinpath("static").iterdir()
    if file.name.rpartition(".")[2] in TYPES
}
_versions = {name: hashlib.sha256(content).hexdigest()[:16] for name, content in _contents.items()}


def versioned(name: str) -> str:
    """Return the URL of a file, which changes with its content."""
    return f"/static/{name}?v={_versions[name]}"


@router.get("/{asset}")
async def show_asset(asset: Annotated[str, Path()], request: Request) -> Response:
    """Serve a file. A browser keeps what it has by its version for a year, and asks again for others."""
    if asset not in _contents:
        raise NotFound("There is no such file.")
    is_current = request.query_params.get("v") == _versions[asset]
    headers = {
        "cache-control": A_YEAR if is_current else "no-cache",
        "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
        "cross-origin-resource-policy": "same-origin",
        "etag": f'"{_versions[asset]}"',
        "x-content-type-options": "nosniff",
    }
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(_contents[asset], media_type=TYPES[asset.rpartition(".")[2]], headers=headers)
