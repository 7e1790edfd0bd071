"""`qrefine export` for `ray job submit -- python jobs/export.py TABLE OUT [options]`."""

import sys

from qrefine.cli.app import main

if __name__ == "__main__":
    sys.argv.insert(1, "export")
    main()
