"""What reaches out into the world: each activity does one thing and returns what came of it."""
