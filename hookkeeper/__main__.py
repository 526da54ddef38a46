"""`python -m hookkeeper`."""

from cli.main import main

main()
