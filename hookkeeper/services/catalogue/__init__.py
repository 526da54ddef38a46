"""Event types: their schemas, examples and documents."""
