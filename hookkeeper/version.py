"""The version, read by the build and by the code."""

VERSION = "0.1.0"
USER_AGENT = f"Hookkeeper/{VERSION}"
