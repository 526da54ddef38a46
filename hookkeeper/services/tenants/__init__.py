"""Tenants, their keys and links, and what a caller may do."""
