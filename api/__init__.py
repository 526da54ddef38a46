"""The thin HTTP layer: it checks, looks up, starts and asks; it delivers nothing itself."""
