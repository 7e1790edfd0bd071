"""``python -m qrefine.cli``."""

from qrefine.cli.app import main

main()
