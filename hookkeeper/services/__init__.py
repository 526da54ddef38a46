"""Use cases without HTTP: accept an event, check a webhook or a schedule, preview what is sent."""
