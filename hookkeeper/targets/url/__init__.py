"""The URL of a webhook, which gets a signed POST. Its attempts are made by `activities.webhooks`."""
