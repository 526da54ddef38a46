"""The description of a kind of target. It needs no package: workflows and each command load those of all kinds."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

MAX_SHOWN = 256
"""Characters of a target for display."""


def load(name: str) -> Any:
    """Import an object by `module:name`."""
    module, _, attribute = name.partition(":")
    return getattr(import_module(module), attribute)


@dataclass(frozen=True, slots=True)
class Items:
    """The targets of a kind of which a webhook can have several.

    What needs more than this description is named, as `module:name`, and loaded at first use.
    """

    help: str
    """What the field of webhooks says."""
    model: str
    """The class of a target, a Pydantic model. Its `target` is for display, without secrets; its `destination` stays
    the same when only texts change."""
    check: str
    """`check(item)`, in the sandbox: raises BadTemplate for an invalid template."""
    render: str
    """`render(item, context, limits)`, in the sandbox: the content for an event. Raises ContentError."""
    rendered: tuple[str, ...]
    """The classes of what `render` returns. They have a `size` in bytes."""
    sender: str
    """A `hookkeeper.targets.sending.Sender`, made with `Clients`."""
    preview: str = "hookkeeper.targets.preview:TargetPreview"
    """The class of a preview. Its `made(item, rendered, problem)` makes one."""
    words: str = "hookkeeper.targets.words"
    """A module for the command line. Its `read(text)` makes a target, as JSON, of a text that is not JSON, and its
    docstring is help; its `write(item)` describes one."""
    errors: tuple[str, ...] = ()
    """Errors of its attempts that only this kind has."""
    faults: str = ""
    """`faults(item, rules)`: field and error of what the sandbox does not check, such as an address. Takes long."""
    masked: str = ""
    """`masked(item)`: the item with masks in place of secrets; none if it has no secrets."""
    unmasked: str = ""
    """`unmasked(given, known)`: the items with the known secrets in place of masks. Raises ValueError."""

    def with_masks(self, targets: Sequence[Any]) -> tuple[Any, ...]:
        return tuple(map(load(self.masked), targets) if self.masked else targets)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of target: what differs between an HTTP request, an email, …"""

    name: str
    """The `channel` of its deliveries, and a part of their ids: `wh_1.email.2`. One lowercase word."""
    field: str
    """The field of webhooks with its targets."""
    label: str
    """What pages call one."""
    verb: str
    """What is done to a target, before its name: `email to`."""
    activity: str
    """The activity that makes its attempts. Histories name it, so it stays."""
    items: Items | None = None
    """None for the URL, of which a webhook has one at most."""
    many: str = ""
    """What an attempt at several targets is called; by default their number and all of them."""
    is_paced: bool = False
    """Its attempts keep to the order and the rate of their webhook, and are fewer while it hangs."""
    is_quick: bool = False
    """First attempts are made within the workflow task if they can be expected to be quick, also of several events."""
    shows_answer: bool = False
    """The command line shows what the receiver says also of a success."""
    has_exchange: bool = False
    """The request of an attempt is rebuilt for those who look for its cause."""

    def shown(self, targets: Sequence[str]) -> str:
        """Describe an attempt: `email to ann@acme.example`, `2 emails: …`."""
        if len(targets) == 1:
            return f"{self.verb} {targets[0]}"
        return self.many.format(len(targets)) if self.many else f"{len(targets)} {self.field}: {'; '.join(targets)}"
