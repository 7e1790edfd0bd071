"""Safetensors by hand: an 8-byte length, a JSON header, raw data. Needs torch alone.

The format is https://huggingface.co/docs/safetensors: little-endian, row-major, offsets relative to the data.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

_TYPES = {
    torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.uint8: "U8",
    torch.float64: "F64", torch.int32: "I32", torch.bool: "BOOL",
}  # fmt: skip
_NAMES = {name: dtype for dtype, name in _TYPES.items()}


def packed(tensors: Mapping[str, Tensor], notes: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a safetensors file with ``tensors`` and, in its header, ``notes``."""
    header: dict[str, object] = {"__metadata__": dict(notes)} if notes else {}
    chunks, offset = [], 0
    for name, tensor in tensors.items():
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        ends = [offset, offset + len(data)]
        header[name] = {"dtype": _TYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": ends}
        chunks.append(data)
        offset += len(data)
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return b"".join([struct.pack("<Q", len(head)), head, *chunks])


def unpacked(data: bytes) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and notes of a safetensors file. ValueError where ``data`` is none."""
    try:
        (length,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8 : 8 + length])
        notes = header.pop("__metadata__", {})
        tensors, body = {}, memoryview(data)[8 + length :]
        for name, entry in header.items():
            start, stop = entry["data_offsets"]
            dtype, shape = _NAMES[entry["dtype"]], entry["shape"]
            flat = torch.empty(0, dtype=dtype)
            if stop > start:
                flat = torch.frombuffer(bytearray(body[start:stop]), dtype=dtype)
            tensors[name] = flat.reshape(shape)
        return tensors, notes
    except (struct.error, KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(f"not a sound safetensors file: {error}") from None


def save(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str] | None = None) -> None:
    """Writes a file at once or not at all: whoever reads it meanwhile sees the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(path.name + ".new")
    new.write_bytes(packed(tensors, notes))
    os.replace(new, path)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and notes of the file at ``path``."""
    return unpacked(path.read_bytes())
