"""One peer's run in a process of its own: ``python -m benchmarks.peers NAME CONFIG OUT CORES SHARD...``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from qrefine.config import load_config

if __name__ == "__main__":  # worker processes import this module again
    name, config, out, cores, *shards = sys.argv[1:]
    peer = importlib.import_module(f"benchmarks.peers.{name}")
    peer.run(shards, out, load_config(Path(config)), int(cores))
