"""What would be sent to a target, for people."""

from typing import Any, Self

from pydantic import Field

from hookkeeper.services.fields import ResponseModel


class TargetPreview(ResponseModel):
    target: str
    """Empty if that is not known because of the problem."""
    title: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)
    body: str | None = None
    problem: str | None = None
    """Why nothing can be sent: the delivery would fail as `bad_template`."""

    @classmethod
    def made(cls, item: Any, rendered: Any, problem: str | None) -> Self:
        """Make a preview of what was rendered, which has `shown`: title, headers and body as far as there are any."""
        return cls(target=item.target, problem=problem, **(rendered.shown if rendered else {}))
