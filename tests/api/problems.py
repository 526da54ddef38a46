"""What every error answer must look like."""

from typing import Any

import httpx

FIELDS = ["type", "title", "status", "detail", "errors"]
LEAKS = (
    "Traceback",
    'File "/',
    ".py",
    "0x7f",
    "sqlalchemy",
    "asyncpg",
    "sqlite",
    "temporalio",
    "pydantic",
    "127.0.0.1",
)


def problem(answer: httpx.Response, status: int, *paths: str) -> dict[str, Any]:
    """Check that the answer is a problem document with this status that blames exactly these fields."""
    assert answer.status_code == status, f"{answer.status_code} {answer.text[:500]}"
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert [field for field in document if field not in ("event_id", "schedule_id")] == FIELDS
    assert document["status"] == status
    assert document["type"].startswith("urn:hookkeeper:problem:")
    assert document["title"]
    assert document["detail"]
    for error in document["errors"]:
        assert list(error) == ["path", "detail"]
        assert error["detail"]
    if paths:
        assert {error["path"] for error in document["errors"]} == set(paths)
    for leak in LEAKS:
        assert leak not in answer.text
    return document
