"""Fault drills: the real processes, killed, stopped and starved while events come in; then the books are checked.

Not tests of a part but of the promise: what was answered 2xx is delivered, whatever dies.
"""
