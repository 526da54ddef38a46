"""Notifications. What they say is in `hookkeeper.content.notifications`, since alerts are notifications too."""
