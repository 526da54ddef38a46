"""The state of the installation: its settings, its counts and the doctor."""
