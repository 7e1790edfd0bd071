"""`qrefine report` for `ray job submit -- python jobs/report.py TABLE -o s3://bucket/report.html [options]`."""

import sys

from qrefine.cli.app import main

if __name__ == "__main__":
    sys.argv.insert(1, "report")
    main()
