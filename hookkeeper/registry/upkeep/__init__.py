"""Keep the registry sound: schema, diagnosis, rotation of keys and retention."""
