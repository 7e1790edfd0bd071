"""Freed memory stays with the process where the C library is glibc; elsewhere nothing happens."""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys

import pytest

from qrefine.models import heap

PAGES = """
import ctypes, resource, sys
from qrefine.models.heap import keep_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
if sys.argv[1] == "keep":
    assert keep_memory() and keep_memory()
def turn():
    blocks = [libc.malloc(30 << 20) for _ in range(3)]  # by turns, as the layers of a network
    for block in blocks:
        ctypes.memset(block, 1, 30 << 20)
    for block in blocks:
        libc.free(block)
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
turn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
turn()
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
large = [libc.malloc(30 << 20) for _ in range(20)]
for block in large:
    ctypes.memset(block, 1, 30 << 20)
for block in large:
    libc.free(block)
print(faults, resident() >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc")
def test_blocks_that_were_freed_are_not_faulted_in_again_and_what_is_kept_is_bounded() -> None:
    found = {}
    for way in ("keep", "leave"):
        printed = subprocess.run([sys.executable, "-c", PAGES, way], capture_output=True, text=True, check=True)
        found[way] = [int(word) for word in printed.stdout.split()]
    pages = 3 * (30 << 20) // 4096
    assert found["keep"][0] < pages / 50
    # glibc's own threshold follows what was freed, up to 32 MiB, and twice that stays: less than the three blocks
    assert found["leave"][0] > pages / 2
    assert found["keep"][1] < 100 + (heap.KEPT >> 20)  # of 600 MiB


class Library:
    """musl, and macOS: no sign of glibc. A call of anything would raise AttributeError."""


@pytest.mark.parametrize("opened", [Library, OSError, TypeError])
def test_with_another_c_library_nothing_is_done(monkeypatch: pytest.MonkeyPatch, opened: type) -> None:
    def library(_name: None) -> object:
        made = opened()
        if isinstance(made, Exception):
            raise made
        return made

    monkeypatch.setattr(ctypes, "CDLL", library)
    assert heap.keep_memory() is False
