"""The only package that imports ray: shards through actor pools into a table."""

import os

# A run requests resources from the cluster every ten seconds; the last request of a killed run holds them until it
# expires. With Ray's default of three minutes the next run would wait that long for GPUs. Ray reads it on import.
os.environ.setdefault("RAY_DATA_AUTOSCALING_REQUEST_EXPIRE_TIME_S", "40")
