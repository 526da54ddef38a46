"""Runs that release, redeliver or alert: start, read, command, find what they work on."""
