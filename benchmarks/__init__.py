"""Measurements, not tests: `make bench` compares contenders, and prints figures."""
