"""Emails. What they say is in `hookkeeper.content.emails`, since alerts are emails too."""
