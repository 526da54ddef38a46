"""The namespace of all runs: register search attributes and retention, or report what is missing.

Temporal Cloud, and clusters with an authorizer, do not allow that. Then the namespace is only read, and `Findings` has
the commands for an administrator.
"""

import math
import re
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, UpdateNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper import temporal_names

VALUE_TYPES = {
    "Keyword": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "KeywordList": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
    "Datetime": IndexedValueType.INDEXED_VALUE_TYPE_DATETIME,
    "Int": IndexedValueType.INDEXED_VALUE_TYPE_INT,
    "Text": IndexedValueType.INDEXED_VALUE_TYPE_TEXT,
    "Double": IndexedValueType.INDEXED_VALUE_TYPE_DOUBLE,
    "Bool": IndexedValueType.INDEXED_VALUE_TYPE_BOOL,
}
TYPE_NAMES = {value: name for name, value in VALUE_TYPES.items()}
REFUSALS = frozenset({RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNIMPLEMENTED, RPCStatusCode.UNAUTHENTICATED})
"""Statuses of a call that the server does not allow."""
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Findings:
    """Differences between a namespace and what it should have. False if there are none."""

    namespace: str
    missing: dict[str, str]
    """Missing search attributes, and their types."""
    mistyped: dict[str, tuple[str, str]]
    """Search attributes of another type: the type they have, and the type they should have."""
    retention: tuple[timedelta, timedelta] | None = None
    """The retention that it has, and that of the settings, if they differ."""

    def __bool__(self) -> bool:
        return bool(self.missing or self.mistyped or self.retention)

    def sentences(self) -> list[str]:
        """Describe the differences."""
        found = [f"search attribute {name} ({type_}) is missing" for name, type_ in self.missing.items()]
        found += [f"search attribute {name} is {has}, not {needs}" for name, (has, needs) in self.mistyped.items()]
        if self.retention:
            has, needs = self.retention
            found.append(f"the retention is {_days(has)} days, not {_days(needs)}")
        return found

    def cloud_commands(self) -> list[str]:
        """Return the commands that correct them on Temporal Cloud."""
        commands = [
            f"tcld namespace search-attributes rename --namespace {self.namespace}"
            f" --existing-name {name} --new-name {name}Old"
            for name in self.mistyped
        ]
        adding = self.missing | {name: needs for name, (_, needs) in self.mistyped.items()}
        if adding:
            options = "".join(f' --search-attribute "{name}={type_}"' for name, type_ in adding.items())
            commands.append(f"tcld namespace search-attributes add --namespace {self.namespace}{options}")
        if self.retention:
            days = _days(self.retention[1])
            commands.append(f"tcld namespace retention set --namespace {self.namespace} --retention-days {days}")
        return commands


class NamespaceNotReady(Exception):
    """The namespace lacks something that this process is not allowed, or not able, to add."""

    def __init__(self, findings: Findings, *, refused: bool) -> None:
        super().__init__("; ".join(findings.sentences()))
        self.findings = findings
        self.refused = refused
        """The server does not allow the change."""


async def prepare(client: Client, retention: timedelta) -> None:
    """Register the search attributes and the retention. Idempotent.

    Raises `NamespaceNotReady` if something is missing and cannot be made, or has another type, and `RPCError`.
    """
    attributes = await read_search_attributes(client)
    findings = compare(client.namespace, attributes)
    refused = not await _add(client, findings.missing)
    refused |= not await _set_retention(client, retention)
    if refused:
        findings = await inspect(client, retention)
        if findings:
            raise NamespaceNotReady(findings, refused=True)
    elif findings.mistyped:
        raise NamespaceNotReady(Findings(client.namespace, {}, findings.mistyped), refused=False)


async def check(client: Client) -> None:
    """Return if the namespace exists and this process may use it. Raises `RPCError`."""
    await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=client.namespace), retry=True)


def unusable(namespace: str, error: RPCError) -> str:
    """Say why a namespace cannot be used, and how to make one that is missing."""
    reason = f"the Temporal namespace {namespace} cannot be used: {error.message.rstrip('.')}"
    if error.status is not RPCStatusCode.NOT_FOUND:
        return reason
    create = f"temporal operator namespace create --namespace {namespace}"
    return f"{reason}. Check TEMPORAL_NAMESPACE, or run `{create}`, and then `hookkeeper migrate`"


async def inspect(client: Client, retention: timedelta | None = None) -> Findings:
    """Compare the namespace with what it should have; its retention too if one is given."""
    found = compare(client.namespace, await read_search_attributes(client))
    if retention is None:
        return found
    has = (await _describe(client)).workflow_execution_retention_ttl.ToTimedelta()
    # Temporal Cloud counts in days.
    differs = None if has == retention or has == _days(retention) * DAY else (has, retention)
    return Findings(found.namespace, found.missing, found.mistyped, differs)


def compare(namespace: str, attributes: dict[str, str]) -> Findings:
    """Return the search attributes that are missing or have another type."""
    needed = temporal_names.SEARCH_ATTRIBUTES
    missing = {name: type_ for name, type_ in needed.items() if name not in attributes}
    mistyped = {
        name: (attributes[name], type_)
        for name, type_ in needed.items()
        if name in attributes and attributes[name] != type_
    }
    return Findings(namespace, missing, mistyped)


async def read_search_attributes(client: Client) -> dict[str, str]:
    """Return the namespace's search attributes and their types.

    If the operator service does not list them, they are read from the namespace, which maps columns such as `Keyword01`
    to names.
    """
    try:
        known = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=client.namespace)
        )
    except RPCError as error:
        if error.status not in REFUSALS:
            raise
        aliases = (await _describe(client)).custom_search_attribute_aliases
        return {name: re.sub(r"\d+$", "", column) for column, name in aliases.items()}
    return {name: TYPE_NAMES.get(type_, "?") for name, type_ in known.custom_attributes.items()}


async def _describe(client: Client) -> NamespaceConfig:
    request = DescribeNamespaceRequest(namespace=client.namespace)
    return (await client.workflow_service.describe_namespace(request)).config


async def _add(client: Client, missing: dict[str, str]) -> bool:
    """Register search attributes; False if the server does not allow it."""
    if not missing:
        return True
    attributes = {name: VALUE_TYPES[type_] for name, type_ in missing.items()}
    request = AddSearchAttributesRequest(namespace=client.namespace, search_attributes=attributes)
    return await _is_allowed(client.operator_service.add_search_attributes(request))


async def _set_retention(client: Client, retention: timedelta) -> bool:
    """Set the retention of closed runs; False if the server does not allow it."""
    ttl = Duration(seconds=int(retention.total_seconds()))
    config = NamespaceConfig(workflow_execution_retention_ttl=ttl)
    request = UpdateNamespaceRequest(namespace=client.namespace, config=config)
    return await _is_allowed(client.workflow_service.update_namespace(request))


async def _is_allowed(change: Awaitable[object]) -> bool:
    try:
        await change
    except RPCError as error:
        if error.status not in REFUSALS:
            raise
        return False
    return True


def _days(time: timedelta) -> int:
    return max(1, math.ceil(time / DAY))
