"""What would be sent to a target, for people."""

from typing import Any, Self

from pydantic import Field

from hookkeeper.services.fields import ResponseModel


class TargetPreview(ResponseModel):
    target: str
    title: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    body: str | None = None
    problem: str | None = None
    """Why nothing can be sent: the delivery would fail as `bad_template`."""

    @classmethod
    def made(cls, item: Any, rendered: Any, problem: str | None) -> Self:
        """Make a preview of what was rendered, which has `shown`: title, headers and body as far as there are any."""
        return cls(target=item.target, problem=problem, **(rendered.shown if rendered else {}))

    @property
    def part(self) -> "TargetPreview":
        """This preview, as pages show it."""
        return self
