"""`qrefine refine` from a clone: `ray job submit --working-dir . -- python jobs/refine.py INPUT... OUTPUT`.

Where the package is installed, submit ``qrefine COMMAND`` itself.
"""

import sys

from qrefine.cli.app import main

if __name__ == "__main__":
    sys.argv.insert(1, "refine")
    main()
