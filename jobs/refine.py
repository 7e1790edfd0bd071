"""`qrefine refine` for `ray job submit -- python jobs/refine.py INPUT... OUTPUT [options]`."""

import sys

from qrefine.cli.app import main

if __name__ == "__main__":
    sys.argv.insert(1, "refine")
    main()
