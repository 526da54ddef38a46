"""The namespace in which runs live: what it has to have, what it lacks, and what mends that.

`prepare` makes what it may make. Temporal Cloud, and clusters with an authorizer, forbid that: then the namespace is
read instead, and `Findings` has the commands that an administrator runs.
"""

import math
import re
from dataclasses import dataclass
from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, UpdateNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from hookkeeper import ids

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
"""What a server says of a call that it does not allow these credentials, or anybody."""
DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Findings:
    """What is wrong with a namespace. Empty where all is right."""

    namespace: str
    missing: dict[str, str]
    """Search attributes that are not there, and the types they need."""
    mistyped: dict[str, tuple[str, str]]
    """Search attributes of another type: the type they have, and the type they need."""
    retention: tuple[timedelta, timedelta] | None = None
    """The retention that it has, and the one that the settings say, where they differ."""

    def __bool__(self) -> bool:
        return bool(self.missing or self.mistyped or self.retention)

    def sentences(self) -> list[str]:
        """Say what is wrong."""
        found = [f"search attribute {name} ({type_}) is missing" for name, type_ in self.missing.items()]
        found += [f"search attribute {name} is {has}, not {needs}" for name, (has, needs) in self.mistyped.items()]
        if self.retention:
            has, needs = self.retention
            found.append(f"the retention is {_days(has)} days, not {_days(needs)}")
        return found

    def cloud_commands(self) -> list[str]:
        """Give the commands that mend it on Temporal Cloud."""
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
    """The namespace lacks something, and this process may not, or cannot, add it."""

    def __init__(self, findings: Findings, *, refused: bool) -> None:
        super().__init__("; ".join(findings.sentences()))
        self.findings = findings
        self.refused = refused
        """The server refused to make what is missing."""


async def prepare(client: Client, retention: timedelta) -> None:
    """Register our search attributes and the retention. Idempotent.

    Raises `NamespaceNotReady` where something is missing that cannot be made, or has another type, and `RPCError`.
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


async def inspect(client: Client, retention: timedelta | None = None) -> Findings:
    """Compare the namespace with what it has to have; its retention too, where one is given."""
    found = compare(client.namespace, await read_search_attributes(client))
    if retention is None:
        return found
    has = (await _describe(client)).workflow_execution_retention_ttl.ToTimedelta()
    # Temporal Cloud counts in days.
    differs = None if has == retention or has == _days(retention) * DAY else (has, retention)
    return Findings(found.namespace, found.missing, found.mistyped, differs)


def compare(namespace: str, attributes: dict[str, str]) -> Findings:
    """Say what of our search attributes is missing, or has another type."""
    needed = ids.SEARCH_ATTRIBUTES
    missing = {name: type_ for name, type_ in needed.items() if name not in attributes}
    mistyped = {
        name: (attributes[name], type_)
        for name, type_ in needed.items()
        if name in attributes and attributes[name] != type_
    }
    return Findings(namespace, missing, mistyped)


async def read_search_attributes(client: Client) -> dict[str, str]:
    """Give the namespace's search attributes and their types.

    Where the operator's list is refused, the namespace itself says: it maps columns such as `Keyword01` to names.
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
    """Register search attributes; False where the server refuses."""
    if not missing:
        return True
    attributes = {name: VALUE_TYPES[type_] for name, type_ in missing.items()}
    request = AddSearchAttributesRequest(namespace=client.namespace, search_attributes=attributes)
    try:
        await client.operator_service.add_search_attributes(request)
    except RPCError as error:
        if error.status not in REFUSALS:
            raise
        return False
    return True


async def _set_retention(client: Client, retention: timedelta) -> bool:
    """Set how long finished runs are kept; False where the server refuses."""
    ttl = Duration(seconds=int(retention.total_seconds()))
    config = NamespaceConfig(workflow_execution_retention_ttl=ttl)
    try:
        await client.workflow_service.update_namespace(
            UpdateNamespaceRequest(namespace=client.namespace, config=config)
        )
    except RPCError as error:
        if error.status not in REFUSALS:
            raise
        return False
    return True


def _days(time: timedelta) -> int:
    return max(1, math.ceil(time / DAY))
