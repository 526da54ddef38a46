"""Streams of what changes in the index of events, as server-sent events."""
