"""Webhooks: their rows, targets, health, alerts and reserved times."""
