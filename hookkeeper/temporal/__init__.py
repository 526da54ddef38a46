"""All use of a Temporal client: connect, start, command, read, search, schedules, the namespace."""
