"""Side effects: requests to receivers, mail providers, the registry and Temporal."""
