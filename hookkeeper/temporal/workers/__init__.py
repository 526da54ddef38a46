"""The workers of a process, and their versions."""
