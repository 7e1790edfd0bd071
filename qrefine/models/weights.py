"""Safetensors in and out, with the architecture's name inside: a wrong or damaged file is refused in one line."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

EMBEDDED = Path(__file__).parent / "weights"
"""Where the weights of the wheel lie, each with its model card beside it."""


def save_weights(
    net: nn.Module,
    path: Path,
    architecture: str,
    notes: Mapping[str, str],
    stored: torch.dtype = torch.float32,
) -> None:
    """Writes the parameters as ``stored`` with ``architecture`` and ``notes`` in the header."""
    tensors = {name: value.detach().to("cpu", stored).contiguous() for name, value in net.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"architecture": architecture, **notes})


def load_weights(net: nn.Module, path: Path, architecture: str) -> dict[str, str]:
    """Fills ``net`` from ``path`` and gives the file's notes.

    Raises ValueError, naming the file and what was expected, where the file is missing, not safetensors,
    truncated, of another architecture, or with tensors of other names or shapes.
    """
    notes, tensors = _read(path, architecture)
    if notes.get("architecture") != architecture:
        held = notes.get("architecture", "no architecture's name")
        raise ValueError(f"{path}: expected weights of {architecture}, found {held}")
    expected = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in tensors.items()}
    if expected != found:
        odd = sorted(set(expected.items()) ^ set(found.items()))[0][0]
        raise ValueError(
            f"{path}: expected the tensors of {architecture}, but {odd!r} is missing or of another shape"
        )
    if not all(torch.isfinite(value).all() for value in tensors.values()):
        raise ValueError(f"{path}: weights of {architecture} hold values that are not finite")
    net.load_state_dict(tensors)
    return notes


def architecture_of(path: Path) -> str:
    """The architecture's name in a weights file, "" where it has none. Raises ValueError for other files."""
    return _read(path, "any architecture")[0].get("architecture", "")


def _read(path: Path, expected: str) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            return dict(file.metadata() or {}), tensors
    except FileNotFoundError:
        raise ValueError(f"{path}: no such weights file; expected {expected} in safetensors") from None
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a sound safetensors file of {expected}: {error}") from None


def sha256(path: Path) -> str:
    """The file's digest in hexadecimal, as the model card states it."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
