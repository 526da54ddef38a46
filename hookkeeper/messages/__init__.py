"""What the API, workflows and activities send each other through Temporal, one module a topic. Imports no client."""
