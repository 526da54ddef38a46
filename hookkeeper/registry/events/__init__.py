"""The rows of events, and the lists, counters and statistics that are made of them."""
