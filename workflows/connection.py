"""How this process reaches Temporal: address and credentials are Temporal's own settings, the converter is ours."""

import asyncio
from datetime import timedelta

import structlog
from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import UpdateNamespaceRequest
from temporalio.client import Client
from temporalio.envconfig import ClientConfig

from ciphers import Keyring
from workflows import names
from workflows.encryption import data_converter

log = structlog.get_logger("hookkeeper.temporal")
VALUE_TYPES = {
    "Keyword": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD,
    "KeywordList": IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST,
    "Datetime": IndexedValueType.INDEXED_VALUE_TYPE_DATETIME,
    "Int": IndexedValueType.INDEXED_VALUE_TYPE_INT,
}


class TemporalUnreachable(Exception):
    """Temporal did not answer within the time given."""


async def connect(keyring: Keyring | None = None, patience: float = 60.0) -> Client:
    """Connect as `TEMPORAL_…` and its profiles say, trying for `patience` seconds. With keys, payloads go encrypted."""
    config = ClientConfig.load_client_connect_config()
    config.setdefault("target_host", "127.0.0.1:7233")
    deadline = asyncio.get_running_loop().time() + patience
    pause = 0.1
    while True:
        try:
            return await Client.connect(**config, data_converter=data_converter(keyring))
        except RuntimeError as error:
            if asyncio.get_running_loop().time() + pause > deadline:
                raise TemporalUnreachable(f"Temporal at {config['target_host']} is out of reach: {error}") from error
            log.warning("waiting for Temporal", address=config["target_host"], retry_in=pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, 5.0)


async def prepare_namespace(client: Client, retention: timedelta) -> None:
    """Register our search attributes and the retention. Idempotent; raises `RPCError` where the cluster forbids it."""
    known = await client.operator_service.list_search_attributes(
        ListSearchAttributesRequest(namespace=client.namespace)
    )
    missing = {
        name: VALUE_TYPES[type_]
        for name, type_ in names.SEARCH_ATTRIBUTES.items()
        if name not in known.custom_attributes
    }
    if missing:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=client.namespace, search_attributes=missing)
        )
    await client.workflow_service.update_namespace(
        UpdateNamespaceRequest(
            namespace=client.namespace,
            config=NamespaceConfig(workflow_execution_retention_ttl=Duration(seconds=int(retention.total_seconds()))),
        )
    )
