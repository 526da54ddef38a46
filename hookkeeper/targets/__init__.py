"""The kinds of targets, a folder each: `kind.py` describes it, `send.py` makes its attempts."""
