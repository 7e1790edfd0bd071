"""Checks of this machine, for a local run."""

from __future__ import annotations

import os
from collections.abc import Sequence

from qrefine.config import RefineConfig
from qrefine.doctor.findings import Finding
from qrefine.doctor.machine import check_gpu_count, examine_machine, list_gpus
from qrefine.doctor.storage import examine_storage
from qrefine.stream.pools import plan_topology
from qrefine.stream.session import LOCAL_STORE_MB


def examine_here(inputs: Sequence[str], output: str, config: RefineConfig) -> list[Finding]:
    """Findings for a run on this machine; does not start Ray."""
    gpus = len(list_gpus())
    pools = plan_topology(config, os.cpu_count() or 1, gpus).pools
    store = (config.stream.store_mb or LOCAL_STORE_MB) * 2.0**20
    return [
        *examine_machine(config, sum(pool.size for pool in pools), store),
        *check_gpu_count(config, gpus),
        *examine_storage(inputs, output, config),
    ]
