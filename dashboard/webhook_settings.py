"""The settings of a webhook, all of them, and what can be done to it: pause, disable, rotate its key, delete it.

What is shown follows from `hookkeeper.services.webhooks.fields`, with secrets masked as in the answers of the API.
"""

import hmac
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from fastapi import APIRouter, Request, Response

from api import views
from api.access import needs
from api.deps import KnownWebhook, WebhooksDep
from dashboard.rendering import redirect, translations_of
from dashboard.routes import PageRoute
from dashboard.webhook import path_of, show_tab
from hookkeeper.policy import DEFAULT_SCHEDULE, AlertAfter
from hookkeeper.registry.models import Webhook
from hookkeeper.registry.webhooks.health import SLOW_AFTER
from hookkeeper.registry.webhooks.webhooks import ChangedMeanwhile
from hookkeeper.services.field_texts import Field, by_path, fields_of, pattern_of, write_fields
from hookkeeper.services.webhooks.fields import STEPS, NewWebhook
from hookkeeper.services.webhooks.webhooks import WebhookService, require
from hookkeeper.settings import Settings
from hookkeeper.times import utc_now
from hookkeeper.wording import N_, NEVER, duration, write_durations

router = APIRouter(prefix="/webhooks", include_in_schema=False, route_class=PageRoute)
Translate = Callable[[str], str]
_WRITES = [needs("webhooks:write")]
NOT_SET = N_("not set")
Switch = Literal["pause", "resume", "disable", "enable"]
SWITCHES: dict[Switch, Callable[[WebhookService, Webhook], Awaitable[Webhook]]] = {
    "pause": WebhookService.pause,
    "resume": WebhookService.resume,
    "disable": lambda webhooks, webhook: webhooks.change(webhook.id, {"enabled": False}),
    "enable": lambda webhooks, webhook: webhooks.change(webhook.id, {"enabled": True}),
}
"""A webhook that a probe would enable can be disabled too."""


class Setting(NamedTuple):
    """A field, and what it is set to: one text, or one of each part."""

    field: Field
    text: str
    parts: tuple[tuple[str, str], ...] = ()
    """Labels and texts: `Email 1, Subject`."""

    @property
    def is_set(self) -> bool:
        return self.text != NOT_SET


@router.get("/{webhook_id}/settings", dependencies=[needs("webhooks:read")])
async def show_settings(request: Request, webhook: KnownWebhook, webhooks: WebhooksDep) -> Response:
    """Show all settings of a webhook."""
    return await _show(request, webhook, webhooks)


@router.post("/{webhook_id}/delete", dependencies=_WRITES)
async def delete_webhook(webhook: KnownWebhook, webhooks: WebhooksDep) -> Response:
    """Delete a webhook, and go to the list."""
    await webhooks.delete(webhook)
    return redirect("/webhooks?done=delete")


@router.post("/{webhook_id}/secret", dependencies=[needs("webhooks:secrets", "webhooks:write")])
async def show_secret(request: Request, webhook: KnownWebhook, webhooks: WebhooksDep) -> Response:
    """Show the signing key, and record that it was shown."""
    await webhooks.note_shown(webhook)
    return await _show(request, webhook, webhooks, secret=views.secret(webhook))


@router.post("/{webhook_id}/rotate-secret", dependencies=_WRITES)
async def rotate_secret(request: Request, webhook: KnownWebhook, webhooks: WebhooksDep) -> Response:
    """Set a new signing key and show it. For a day, the previous one signs too; the page says which one this ends.

    The form names the key that it replaces: sent again, by a second click or a reload, it shows the key that it made.
    """
    form: dict[str, str] = request.state.form
    notice = ""
    try:
        if not hmac.compare_digest(mark_of(webhook.secret).encode(), form.get("replaces", "").encode()):
            raise ChangedMeanwhile
        webhook = await webhooks.rotate_secret(webhook, {"end_previous"}, end_previous=True)
    except ChangedMeanwhile:
        notice = N_("The key was rotated already. Nothing has changed.")
        webhook = require(await webhooks.store.webhooks.get(webhook.id, webhooks.caller.tenant))
        await webhooks.note_shown(webhook)
    return await _show(request, webhook, webhooks, secret=views.secret(webhook), notice=notice)


@router.post("/{webhook_id}/{command}", dependencies=_WRITES)  # the last of all: it matches other paths too
async def switch_webhook(webhook: KnownWebhook, command: Switch, webhooks: WebhooksDep) -> Response:
    """Pause, resume, disable or enable a webhook."""
    await SWITCHES[command](webhooks, webhook)
    return redirect(path_of(webhook, done=command))


async def _show(request: Request, webhook: Webhook, webhooks: WebhookService, **context: Any) -> Response:
    until = webhook.previous_secret_expires_at
    return await show_tab(
        request,
        "settings",
        webhook,
        **{
            "settings": settings_of(webhook, webhooks.settings, translations_of(request).gettext),
            "key_mark": mark_of(webhook.secret) if "webhooks:write" in webhooks.caller.scopes else "",
            "previous_key_until": until if until and until > utc_now() else None,
            "secret": None,
            **context,
        },
    )


def mark_of(secret: str) -> str:
    """Return what tells a signing key from others, and is no help to guess it."""
    return hmac.digest(secret.encode(), b"the key on a page", "sha256")[:8].hex()


def settings_of(webhook: Webhook, operator: Settings, _: Translate) -> dict[str, list[Setting]]:
    """Return all settings by the steps of the form, apart from the signing key."""
    values = views.webhook(webhook).model_dump(exclude_unset=True) | {"url": webhook.target}
    texts = write_fields(NewWebhook, values)
    fields = fields_of(NewWebhook)
    words = _words(webhook, operator, _)
    return {
        step: [_setting(fields[name], texts, words, _) for name in names if name != "secret"]
        for step, names in STEPS.items()
    }


def _setting(field: Field, texts: Mapping[str, str], words: Mapping[str, str], _: Translate) -> Setting:
    if field.name in words:
        return Setting(field, words[field.name])
    if field.parts:
        return Setting(field, NOT_SET, tuple(_parts(field, texts, _)))
    text = texts.get(field.name, "")
    if field.choices:
        return Setting(field, _(field.shown_choices[text] or (N_("no") if field.default is False else NOT_SET)))
    return Setting(field, text or NOT_SET)


def _words(webhook: Webhook, operator: Settings, _: Translate) -> dict[str, str]:
    """Return the settings that texts of a form would not explain."""
    default = operator.health_defaults
    seconds = default.disable_after if webhook.disable_after is None else webhook.disable_after
    return {
        "retry": retries_in_words(webhook.retry.delays if webhook.retry else DEFAULT_SCHEDULE, _),
        "timeout": duration(webhook.timeout),
        "alert_after": _or_default(
            webhook.alert_after, _alert_in_words(webhook.alert_after or default.alert_after, _), _
        ),
        "slow_after": _or_default(
            webhook.slow_after, _("from %(time)s") % {"time": duration(webhook.slow_after or SLOW_AFTER)}, _
        ),
        "disable_after": _or_default(
            webhook.disable_after, _("after %(time)s") % {"time": duration(seconds)} if seconds else _(NEVER), _
        ),
    }


def _or_default(given: object, words: str, _: Translate) -> str:
    return _("%(value)s (the default)") % {"value": words} if given is None else words


def _alert_in_words(after: AlertAfter, _: Translate) -> str:
    attempts = [_("%(n)s attempts") % {"n": after.attempts}] if after.attempts else []
    times = [write_durations([after.seconds])] if after.seconds else []
    return _("after %(time)s") % {"time": ", ".join(attempts + times)}


def retries_in_words(delays: tuple[float, ...], _: Translate = str) -> str:
    """Write a schedule: `3 attempts: at once, then after 5 s, 5 min. The last one comes 5.08 min after the first.`"""
    if not delays:
        return _("One attempt, without retries.")
    waits = ", ".join(map(duration, delays))
    words = _("%(n)s attempts: at once, then after %(waits)s. The last one comes %(time)s after the first.")
    return words % {"n": len(delays) + 1, "waits": waits, "time": duration(sum(delays))}


def _parts(field: Field, texts: Mapping[str, str], _: Translate) -> Iterator[tuple[str, str]]:
    """Yield what is set inside a field, with the titles of the fields around it and the numbers of items."""
    for path, text in texts.items():
        name, *inner = path.split(".")
        if name != field.name or not text:
            continue
        titles = [_(field.title)]
        for step in inner:
            name += f".{step}"
            if step.isdecimal():
                singular = by_path(NewWebhook)[name.rpartition(".")[0]].title.removesuffix("s")
                titles[-1] = f"{_(singular)} {int(step) + 1}"
            else:
                titles.append(_(by_path(NewWebhook)[pattern_of(name)].title))
        yield ", ".join(titles if field.is_list else titles[1:]), text
