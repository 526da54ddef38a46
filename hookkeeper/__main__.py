"""`python -m hookkeeper`."""

from hookkeeper.cli.main import main

main()
