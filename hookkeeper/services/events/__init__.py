"""Events: accept, find, read and command them."""
