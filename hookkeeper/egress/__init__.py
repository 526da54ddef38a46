"""Requests that leave Hookkeeper: address rules, connections, TLS, name lookups, the egress proxy."""
