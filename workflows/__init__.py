"""Workflow definitions, and the code that replays with them."""
