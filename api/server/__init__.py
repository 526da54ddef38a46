"""The edge of the HTTP server: what clients may take of it, and answers in place of a route."""
