"""Temporal's schedules."""
