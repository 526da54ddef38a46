"""Durable runs: the workflow of an event, and the gateway through which the rest of the house talks to it."""
