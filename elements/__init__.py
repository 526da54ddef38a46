"""The elements of a webhook as people write them, and what each comes to for an event. Pure."""
