"""Extensions of Hookkeeper. The core imports none of them: `pyproject.toml` names them as entry points."""
