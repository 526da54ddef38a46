"""Limits that each tenant has for itself."""
