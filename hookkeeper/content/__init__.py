"""What a webhook says: payloads, templates, filters, emails, notifications. Pure."""
