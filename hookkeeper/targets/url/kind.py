"""The description of URLs."""

from hookkeeper.kind import Kind

URL = Kind(
    name="webhook",
    field="url",
    label="URL",
    verb="POST",
    activity="deliver_webhooks",
    many="POST to {} webhooks",
    is_paced=True,
    is_quick=True,
    has_exchange=True,
)
