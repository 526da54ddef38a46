"""Runs of events: start, command, read, erase, repair."""
