"""Systems that accept an event with `POST /v1/events` and deliver it."""
