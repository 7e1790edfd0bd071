"""Memory must not grow with the shard: one of 2 GB against one of 100 MB."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import psutil
import pytest

from qrefine.table.table import open_table
from tests.support import PLAIN, encoded, photo, write_tar

IMAGE_BYTES = 2 * 2**20
MOST_GROWTH = 300 * 2**20


def heavy_png(index: int) -> bytes:
    """A photograph of 64 pixels that weighs 2 MiB: real bytes to move, little to compute."""
    plain = encoded(photo(("astronaut", "chelsea", "coffee", "rocket")[index % 4], 64))
    ballast = os.urandom(IMAGE_BYTES)
    chunk = b"baLl" + ballast  # ancillary, private, safe to copy: decoders pass over it
    head = 33  # signature and IHDR
    return (
        plain[:head]
        + struct.pack(">I", len(ballast))
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + plain[head:]
    )


def peak_bytes(shard: Path, table: Path, executor: str) -> int:
    """Greatest proportional set size of the run and all its processes, shared memory counted once."""
    settings = [flag for setting in (*PLAIN, f"stream.executor={executor}") for flag in ("--set", setting)]
    command = [sys.executable, "-m", "qrefine.cli", "refine", str(shard), str(table), *settings]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    peak = 0
    while run.poll() is None:
        total = 0
        try:
            for process in [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]:
                total += process.memory_full_info().pss
        except psutil.Error:
            continue  # one of them ended in between: this reading is short
        peak = max(peak, total)
        time.sleep(0.2)
    assert run.returncode == 0
    return peak


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("executor", ["ray", "local"])
def test_a_shard_of_2_gb_takes_no_more_memory_than_one_of_100_mb(tmp_path: Path, executor: str) -> None:
    peaks = []
    for name, count in (("small", 50), ("large", 1000)):
        shard = write_tar(tmp_path / f"{name}.tar", ((f"{i:05d}.png", heavy_png(i)) for i in range(count)))
        peaks.append(peak_bytes(shard, tmp_path / name, executor))
        assert open_table(str(tmp_path / name)).to_pyarrow_table(columns=["key"]).num_rows == count
        shard.unlink()
    print(f"peak memory: {peaks[0] / 2**20:.0f} MiB for 100 MB, {peaks[1] / 2**20:.0f} MiB for 2 GB")
    assert peaks[1] - peaks[0] <= MOST_GROWTH
