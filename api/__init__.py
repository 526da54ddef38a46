"""The HTTP layer: authentication, requests and answers. Services and the client of Temporal do the work."""
