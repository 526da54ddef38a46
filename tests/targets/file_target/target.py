"""A file, and the line that it gets."""

from collections.abc import Sequence
from pathlib import PurePath

from pydantic import BaseModel, ConfigDict, Field

from hookkeeper.content import template_fields
from hookkeeper.content.context import Context
from hookkeeper.content.headers import MASK
from hookkeeper.content.sizes import RenderLimits


class FileTarget(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    path: str = Field(min_length=1, max_length=256, pattern="^/")
    """Where the file is."""
    line: str = Field("{{ event.type }}", max_length=1024)
    """A template, on one line."""
    password: str | None = None
    """Is written before the line, and masked in responses."""

    @property
    def target(self) -> str:
        return PurePath(self.path).name

    @property
    def destination(self) -> str:
        return self.path


class Line(BaseModel):
    text: str
    password: str | None

    @property
    def size(self) -> int:
        return len(self.text.encode())

    @property
    def shown(self) -> dict[str, str]:
        return {"body": self.text}


def check(target: FileTarget) -> None:
    """Raise BadTemplate for an invalid line."""
    template_fields.check("line", target.line)


def render(target: FileTarget, context: Context, _: RenderLimits) -> Line:
    return Line(text=template_fields.fill_line("line", target.line, context), password=target.password)


def masked(target: FileTarget) -> FileTarget:
    return target.model_copy(update={"password": target.password and MASK})


def unmasked(given: Sequence[FileTarget], known: Sequence[FileTarget]) -> tuple[FileTarget, ...]:
    """Replace masks by the passwords of the same files."""
    passwords = {target.path: target.password for target in known}
    return tuple(
        target.model_copy(update={"password": passwords.get(target.path)}) if target.password == MASK else target
        for target in given
    )
