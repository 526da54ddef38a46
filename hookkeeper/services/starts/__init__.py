"""Start the runs of events: accept rows, group them, start at once, and look after what has no run."""
