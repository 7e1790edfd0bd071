"""The only package that imports ray: shards through actor pools into a table."""

import os

# A run says every ten seconds what it needs of the cluster, and a killed one holds it until its last word expires.
# Ray's three minutes would leave the run that continues it without GPUs for as long. It is read on import.
os.environ.setdefault("RAY_DATA_AUTOSCALING_REQUEST_EXPIRE_TIME_S", "40")
