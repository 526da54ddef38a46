"""Where webhooks live."""
