"""Tenants, their API keys, and the links of their customers to the portal."""
