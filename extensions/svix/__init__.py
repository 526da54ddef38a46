"""The API of Svix's open server at `/api/v1`, as a translation: an application is a tenant, a message is an event."""
