"""Webhooks: register, validate, preview and send them; their incidents."""
