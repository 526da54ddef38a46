"""`hookkeeper doctor`."""

import asyncio
import json
import os
import sys
from dataclasses import asdict
from typing import NoReturn

import typer
from rich.markup import escape

from cli import local_settings as local
from cli.client.api import Api
from cli.console import out, print_table
from cli.datadir import DEFAULT, DataDir
from cli.operators.startup import read_settings, unknown_settings
from cli.ports import LOCALHOST
from hookkeeper.findings import Finding, Level, worst
from hookkeeper.settings import Settings

EXIT_CODES: dict[Level, int] = {"well": 0, "wrong": 1, "warning": 3}
"""2 is for wrong usage, in all commands."""
MARKS: dict[Level, str] = {
    "well": "[green]ok[/green]",
    "warning": "[yellow]warning[/yellow]",
    "wrong": "[red]wrong[/red]",
}


def run_doctor(*, as_json: bool) -> None:
    """Examine what the settings name, or the `dev` of this directory. Without a registry in the settings, the server
    at HOOKKEEPER_URL examines itself. Ends the process with the code of the result.
    """
    if "HOOKKEEPER_URL" in os.environ and "database_url" not in read_settings().model_fields_set:
        _report([Finding(**each) for each in Api.of_environment().call("GET", "system", "doctor")["findings"]], as_json)
    settings, address = _settings()
    findings = [Finding("warning", sentence, "correct or remove it", "settings") for sentence in unknown_settings()]
    asyncio.run(_examine(settings, address, findings, as_json))


async def _examine(settings: Settings, address: str | None, findings: list[Finding], as_json: bool) -> None:
    from hookkeeper import logs
    from hookkeeper.services.system.doctor import Doctor

    logs.configure(settings.log_format)
    _report(findings + await Doctor(settings, address).examine(), as_json)


def _report(findings: list[Finding], as_json: bool) -> NoReturn:
    if as_json:
        report = {"status": worst(findings), "findings": [asdict(finding) for finding in findings]}
        typer.echo(json.dumps(report))
    else:
        _print(findings)
    sys.stdout.flush()
    os._exit(EXIT_CODES[worst(findings)])  # Python would wait for the threads of lookups that no name server answers


def _settings() -> tuple[Settings, str | None]:
    """Return the settings, and the address of Temporal if it is that of a `dev`."""
    configured = read_settings()
    data = DataDir(DEFAULT)
    dev = data.dev_api()
    if dev is None or "database_url" in configured.model_fields_set:
        return configured, None
    settings = local.settings_for(configured, data, LOCALHOST, dev.ports, send_emails=True, encrypt=False)
    return settings, None if "TEMPORAL_ADDRESS" in os.environ else f"{LOCALHOST}:{dev.ports.temporal}"


def _print(findings: list[Finding]) -> None:
    rows = []
    for finding in findings:
        remedy = f" → {finding.remedy}" if finding.remedy else ""
        rows.append((MARKS[finding.level], finding.check, escape(f"{finding.text}{remedy}")))
    print_table(("", "CHECK", ""), rows)
    counts = {level: sum(finding.level == level for finding in findings) for level in MARKS}
    out.print(f"\n{counts['wrong']} wrong, {counts['warning']} with a warning, {counts['well']} well")
