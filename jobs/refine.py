"""`qrefine refine` from a clone: `ray job submit --working-dir . -- python jobs/refine.py INPUT... OUTPUT [options]`.

Where the package is installed `ray job submit -- qrefine COMMAND ...` does, for every command.
"""

import sys

from qrefine.cli.app import main

if __name__ == "__main__":
    sys.argv.insert(1, "refine")
    main()
