"""The dashboard: pages for operators and, with a tenant's key, for customers."""
