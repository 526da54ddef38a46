"""`hookkeeper import …`: copy tenants, event types and webhooks from another server.

A source translates each of its objects to an `Item`, and `Target` writes it through our API: it adds a missing object
and changes one that differs. So a run can be repeated, also after an interruption.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

import typer

from cli.client.api import Api, ApiUnavailable
from cli.client.options import AsJson
from cli.console import CONTINUE, Failed, Json, out, print_table
from extensions.importing.items import KEYS, NOTHING, Item, Kind
from hookkeeper.content.headers import MASK

OUTCOMES = ("added", "changed", "unchanged", "not copied")
WITH_LOSSES = 3
"""The exit code if all objects were copied, but not all fields. `hookkeeper doctor` uses it for warnings."""

app = typer.Typer(no_args_is_help=True, help="Copy from another server. A run can be repeated safely.")
Replace = Annotated[
    bool, typer.Option("--replace", help="Also change existing webhooks whose URL has another host in the source.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print what a run would do and what it cannot translate; change nothing.")
]


class Done(NamedTuple):
    """What became of an item."""

    outcome: str
    losses: Sequence[str]
    url: str = ""
    """The change of the URL of an existing webhook."""


@app.command("svix")
def import_svix(
    url: Annotated[str, typer.Option(envvar="SVIX_SERVER_URL", help="Address, such as https://api.eu.svix.com.")],
    token: Annotated[str, typer.Option(envvar="SVIX_AUTH_TOKEN", help="A token of Svix for all applications.")],
    dry_run: DryRun = False,
    replace: Replace = False,
    as_json: AsJson = False,
) -> None:
    """Copy event types, applications and endpoints with their secrets from a running Svix server.

    An application becomes a tenant, an endpoint a webhook. Receivers keep their secrets.

    Exit codes: 0 if all was copied, 3 if some fields were not, 1 if some objects were not.
    """
    from extensions.importing.from_svix import Svix

    _run(lambda: Svix(url, token).items(), dry_run, replace, as_json)


@app.command("convoy")
def import_convoy(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE…", help="Answers of Convoy's API: endpoints, subscriptions, filters, event types."
        ),
    ],
    dry_run: DryRun = False,
    replace: Replace = False,
    as_json: AsJson = False,
) -> None:
    """Copy endpoints, subscriptions and event types from saved answers of Convoy's API.

    The owner of an endpoint becomes a tenant, a subscription a webhook. Receivers keep their secrets, and verify
    another header.

    Exit codes: 0 if all was copied, 3 if some fields were not, 1 if some objects were not.
    """
    from extensions.importing.from_convoy import items_of

    _run(lambda: items_of(files), dry_run, replace, as_json)


def add_to(main: typer.Typer) -> None:
    """Add the command `import`."""
    main.add_typer(app, name="import", rich_help_panel="Manage")


def _run(read: Callable[[], Sequence[Iterable[Item]]], dry_run: bool, replace: bool, as_json: bool) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("import"), BarColumn(), MofNCompleteColumn())
    counts = {path: Counter(dict.fromkeys(OUTCOMES, 0)) for path in KEYS}
    losses: list[Json] = []
    urls: list[Json] = []
    last = "the start"
    try:
        target = Target(Api.of_environment(), dry_run, replace)
        with Progress(*columns, console=out, disable=as_json) as progress:
            for items in progress.track(read()):
                for item in items:
                    last = item.label
                    done = target.put(item)
                    counts[item.path][done.outcome] += 1
                    losses += [{"object": item.label, "loss": reason} for reason in done.losses]
                    urls += [{"object": item.label, "url": done.url}] if done.url else []
                    if not as_json:
                        _print_item(item, done, dry_run)
    except KeyboardInterrupt:
        raise Failed(f"interrupted: {CONTINUE}") from None
    except ApiUnavailable as error:
        raise Failed(f"{error}\n{CONTINUE}") from error
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise Failed(f"the source does not have the documented form, after {last}: {error!r}") from error
    if as_json:
        typer.echo(json.dumps({"dry_run": dry_run} | counts | {"losses": losses, "changed_urls": urls}))
    else:
        rows = [(path, *(str(counts[path][outcome]) for outcome in OUTCOMES)) for path in KEYS]
        print_table(("would be" if dry_run else "", *OUTCOMES), rows)
    if any(each["not copied"] for each in counts.values()):
        raise typer.Exit(1)
    if losses:
        raise typer.Exit(WITH_LOSSES)


def _print_item(item: Item, done: Done, dry_run: bool) -> None:
    texts = [*([f"url: {done.url}"] if done.url else []), *done.losses]
    if texts or (dry_run and done.outcome != "unchanged"):
        would_be = "would be " if dry_run and done.outcome in ("added", "changed") else ""
        out.print("\n  ".join((f"{would_be}{done.outcome}: {item.label}", *texts)), markup=False)


class Target:
    """Writes items through our API. It knows the objects that exist."""

    def __init__(self, api: Api, dry_run: bool, replace: bool) -> None:
        self._api = api
        self._dry_run = dry_run
        self._replace = replace
        self._known = lru_cache(maxsize=len(KEYS))(self._list)
        """Webhooks are those of one tenant: a source yields them one after another."""

    def put(self, item: Item) -> Done:
        """Add or change an object. Raises `Failed` if our API cannot be read.

        The source could be another's: without `--replace`, it does not redirect a webhook that exists to another host.
        """
        body = item.body
        if body is None:
            return Done("not copied", item.losses)
        known = self._known(item.path, body.get("tenant")).get(body[KEYS[item.path]])
        before, after = (known or NOTHING).get("url"), body.get("url")
        url = f"{before} → {after}" if known and before != after else ""
        if url and not self._replace and _host(before) != _host(after):
            return Done("not copied", (*item.losses, f"{url}: --replace lets the host of the URL change"))
        try:
            return Done(self._change(item, body, known) if known else self._add(item, body), item.losses, url)
        except ApiUnavailable:
            raise
        except Failed as refused:
            return Done("not copied", (*item.losses, " ".join(str(refused).split())), url)

    def _list(self, path: Kind, tenant: str | None) -> dict[str, Json]:
        return {each[KEYS[path]]: each for each in self._api.all(path, tenant=tenant)}

    def _add(self, item: Item, body: Json) -> str:
        """Add an object. A dry run requests a preview of a webhook, so that our API checks it without storing it."""
        if not self._dry_run:
            self._api.call("POST", item.path, body=body | item.once)
        elif item.path == "webhooks":
            self._api.call("POST", item.path, "preview", body={"webhook": body})
        return "added"

    def _change(self, item: Item, body: Json, known: Json) -> str:
        """Send what differs. Values of headers are always sent, because our API masks them in answers."""
        fixed = {KEYS[item.path], "tenant", "secret", *item.once}
        wanted = {name: value for name, value in body.items() if name not in fixed}
        secret = body.get("secret")
        if "headers" in wanted:
            kept = {name for name in known["headers"] if name.lower() in map(str.lower, item.hidden)}
            wanted["headers"] = wanted["headers"] | dict.fromkeys(kept, MASK)
        changes = {name: value for name, value in wanted.items() if not _is_same(name, value, known[name])}
        rotates = bool(secret) and secret != self._api.call("GET", item.path, known["id"], "secret")["secret"]
        if self._dry_run:
            return "changed" if changes or rotates else "unchanged"
        now, masked = known, {"headers": wanted["headers"]} if wanted.get("headers") else {}
        if sent := changes | masked:
            now = self._api.call("PATCH", item.path, known["id" if "id" in known else "name"], body=sent)
        if rotates:
            rotation = {"secret": secret, "end_previous": True}
            self._api.call("POST", item.path, known["id"], "rotate-secret", body=rotation)
        return "changed" if rotates or now["updated_at"] != known["updated_at"] else "unchanged"


def _host(url: str | None) -> tuple[str, str]:
    parts = urlsplit(url or "")
    return parts.scheme, parts.netloc


def _is_same(name: str, wanted: Any, known: Any) -> bool:
    if name == "headers":
        return {each.lower() for each in wanted} == {each.lower() for each in known}
    return bool(sorted(wanted) == sorted(known) if name in ("events", "channels") else wanted == known)
