"""What an email would say."""

import json
from collections.abc import Sequence
from typing import Any, Self

from hookkeeper.content.emails import Mailbox, RenderedEmail
from hookkeeper.services.fields import ResponseModel
from hookkeeper.targets.preview import TargetPreview


class EmailPreview(ResponseModel):
    rendered: RenderedEmail | None = None
    problem: str | None = None

    @classmethod
    def made(cls, item: Any, rendered: RenderedEmail | None, problem: str | None) -> Self:
        return cls(rendered=rendered, problem=problem)

    @property
    def part(self) -> TargetPreview:
        """The email as text."""
        mail = self.rendered
        if mail is None:
            return TargetPreview(target="", problem=self.problem)
        headers = {
            "To": _shown(mail.to),
            "Cc": _shown(mail.cc),
            "Bcc": _shown(mail.bcc),
            "Reply-To": _shown([mail.reply_to] if mail.reply_to else ()),
            "Subject": mail.subject,
            "Template": mail.template_id or "",
        }
        data = json.dumps(mail.template_data, ensure_ascii=False, indent=2) if mail.template_data else None
        return TargetPreview(
            target="",
            headers={name: value for name, value in headers.items() if value},
            body="\n\n".join(filter(None, (mail.text, mail.html, data))),
        )


def _shown(mailboxes: Sequence[Mailbox]) -> str:
    return ", ".join(f"{each.name} <{each.address}>" if each.name else each.address for each in mailboxes)
