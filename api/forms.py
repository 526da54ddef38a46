"""Reads the forms that browsers send."""

from functools import partial
from urllib.parse import parse_qs

from fastapi import Request

from api.problems import Malformed
from api.requests import in_thread

MAX_FIELDS = 100
"""Fields of a form."""
READ_ON_LOOP = 32 * 1024
"""Bytes of a form that is read without a thread: a large one takes tens of milliseconds."""


async def read_form(request: Request, max_fields: int = MAX_FIELDS) -> dict[str, str]:
    """Read the fields of a form; of a repeated one, the first. The route limits its size."""
    body = b"".join([chunk async for chunk in request.stream()])
    read = partial(parse_qs, body.decode(errors="replace"), keep_blank_values=True, max_num_fields=max_fields)
    try:
        fields = await in_thread(request, read) if len(body) > READ_ON_LOOP else read()
    except ValueError:
        raise Malformed("The form has too many fields.") from None
    return {name: values[0] for name, values in fields.items()}
