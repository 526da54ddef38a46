"""What an email would say."""

import json
from collections.abc import Sequence
from typing import Any, Self

from hookkeeper.content.emails import Mailbox, RenderedEmail
from hookkeeper.targets.preview import TargetPreview


class EmailPreview(TargetPreview):
    rendered: RenderedEmail | None = None

    @classmethod
    def made(cls, item: Any, rendered: RenderedEmail | None, problem: str | None) -> Self:
        if rendered is None:
            return cls(target="", problem=problem)
        lines = {
            "Cc": _shown(rendered.cc),
            "Bcc": _shown(rendered.bcc),
            "Reply-To": _shown([rendered.reply_to] if rendered.reply_to else ()),
            "Subject": rendered.subject,
            "Template": rendered.template_id,
        }
        data = json.dumps(rendered.template_data, ensure_ascii=False, indent=2) if rendered.template_data else None
        return cls(
            target=_shown(rendered.to),
            headers={name: line for name, line in lines.items() if line},
            body="\n\n".join(filter(None, (rendered.text, rendered.html, data))),
            rendered=rendered,
        )


def _shown(mailboxes: Sequence[Mailbox]) -> str:
    return ", ".join(f"{each.name} <{each.address}>" if each.name else each.address for each in mailboxes)
