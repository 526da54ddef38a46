"""Child processes of bounded time and memory, in which tenants' templates, filters and schemas run."""
