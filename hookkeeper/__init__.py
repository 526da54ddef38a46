"""Hookkeeper: durable webhook delivery. `python -m hookkeeper` is its command line."""
