"""What the API, workflows and activities send each other through Temporal, one module a topic. Imports no client."""

from pydantic import BaseModel, ConfigDict


class Message(BaseModel):
    """Base of all messages: frozen, and unknown fields of newer code are ignored.

    Messages have no validators: histories outlive code, and one that rejects an old payload would stop its run.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")
