"""Memory that stays with a process between images, so that each layer does not fault its pages in anew."""

from __future__ import annotations

import ctypes

LARGEST = 32 << 20
"""Bytes: glibc allows no more. Larger blocks go back to the system at once."""

KEPT = 256 << 20
"""Bytes of free memory that may stay at the heap's end."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


def keep_memory() -> bool:
    """Tells glibc's malloc to keep freed blocks of up to LARGEST bytes, KEPT bytes of them at the end of a heap.

    By default it returns blocks above 128 KiB to 32 MiB, depending on what was freed before, and a layer of a
    network on a CPU then spends up to a third of its time on page faults. Idempotent; for the whole process.
    False, and nothing is done, where the C library is another.
    """
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018  # glibc alone has it
        return bool(libc.mallopt(_M_MMAP_THRESHOLD, LARGEST) and libc.mallopt(_M_TRIM_THRESHOLD, KEPT))
    except (AttributeError, OSError, TypeError):  # no such function; no C library to open, as on Windows
        return False
