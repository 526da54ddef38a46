"""Client for Hookkeeper's API, and receivers of its webhooks.

with Client("https://hooks.acme.example", key) as hookkeeper:
    event = hookkeeper.post_event(type="order.paid", data={"order": 4711})
"""

from hookkeeper_client.base import ApiError, HookkeeperError, Message, Page, Unreachable
from hookkeeper_client.client import AsyncClient, AsyncItems, Client, Items

__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncItems",
    "Client",
    "HookkeeperError",
    "Items",
    "Message",
    "Page",
    "Unreachable",
]
