"""Measurements, not tests: numbers are printed for people to compare."""
