"""Schedules: check and change them."""
