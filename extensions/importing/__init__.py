"""Import from other webhook servers: `hookkeeper import`."""
