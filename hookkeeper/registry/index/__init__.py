"""The index of events, for lists and statistics. It is derived from Temporal's histories, and can be rebuilt from them.

It has no event data, no targets and no response bodies.
"""
