"""`qrefine plan` for `ray job submit -- python jobs/plan.py INPUT... [options]`."""

import sys

from qrefine.cli.app import main

if __name__ == "__main__":
    sys.argv.insert(1, "plan")
    main()
