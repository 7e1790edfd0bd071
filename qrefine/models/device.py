"""Default device, dtype and batch size of a network, if the settings leave them open."""

from __future__ import annotations

import torch


def pick_device(device: str | None = None) -> torch.device:
    """The named device, else the first GPU, else the CPU."""
    return torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))


def pick_dtype(dtype: str | None, device: torch.device) -> torch.dtype:
    """The named type (``bfloat16``, ``float16``, ``float32``), else bfloat16 on a GPU and float32 on a CPU."""
    if dtype is None:
        return torch.float32 if device.type == "cpu" else torch.bfloat16
    found: torch.dtype = getattr(torch, dtype)
    return found


def pick_batch(batch_size: int | None, device: torch.device, on_gpu: int) -> int:
    """The configured size, else ``on_gpu`` on a GPU and 1 on a CPU, where batches are no faster."""
    return batch_size or (1 if device.type == "cpu" else on_gpu)
