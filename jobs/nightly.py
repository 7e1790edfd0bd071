"""`qrefine nightly` for `ray job submit -- python jobs/nightly.py INPUT... TABLE [options]`."""

import sys

from qrefine.cli.app import main

if __name__ == "__main__":
    sys.argv.insert(1, "nightly")
    main()
