"""Concurrency limits, by tenant and by response time."""
