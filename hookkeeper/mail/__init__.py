"""Mail providers: each takes a rendered letter and tells what became of it."""
