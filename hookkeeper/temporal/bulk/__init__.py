"""Runs that release, redeliver or probe: start, read, command, find what they work on."""
