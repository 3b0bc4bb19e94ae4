"""`python -m gator_client.cli` is `gator`."""

from gator_client.cli import main

main()
