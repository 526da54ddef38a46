"""How long a test waits for what has to come."""

PATIENCE = 60.0
"""Seconds. As long as a machine may take that has much else to do: nothing is proved by waiting less."""
