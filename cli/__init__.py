"""The command line: the local stack (dev, demo), and a client of the HTTP API."""
