"""Deliveries to a program on a machine without a public address, through a stream of the API."""
