"""A kind of target: each event is a line that is appended to a file of the worker's machine."""
