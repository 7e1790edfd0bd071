"""The processes of a run on Ray, for tests that kill one."""

from __future__ import annotations

import subprocess

import psutil


def victims(driver: subprocess.Popen[bytes], kind: str) -> list[psutil.Process]:
    """The processes of a kind below the driver: Ray names its workers by what they do."""
    try:
        if kind == "driver":
            return [psutil.Process(driver.pid)]
        below = psutil.Process(driver.pid).children(recursive=True)
        marks = {"actor": "ray::MapWorker", "worker": "ray::"}
        return [p for p in below if " ".join(p.cmdline()).startswith(marks[kind])]
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return []
