"""Loads weights without unpickling; every name and shape must match the network.

Third-party weights are safetensors, or torch files read with ``weights_only``. Our own are safetensors with the
architecture's name in the header. A wrong or damaged file gives a one-line error: the file and what was expected.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from qrefine.errors import one_line

EMBEDDED = Path(__file__).parent / "weights"
"""Folder of the weights in the wheel, each with its model card."""


def read_checkpoint(path: str | Path | None, what: str) -> Any:
    """The file's content on the CPU: a state dict, or a dictionary that contains one.

    ``what`` names the kind of file in the ValueError.
    """
    if path is None:
        raise ValueError(f"weights are needed: a file with {what}")
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(f"no {what} at {file.absolute()}")
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and safetensors errors of many classes
        raise ValueError(f"{file} holds no {what}: {one_line(error)}") from error


def load_exactly(net: nn.Module, state: Any, path: str | Path | None, what: str) -> None:
    """Fills ``net`` from a state dict; ValueError unless all names and shapes match."""
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{path} holds no {what}: it is no dictionary of tensors")
    expected = {name: tuple(value.shape) for name, value in net.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in state.items()}
    if expected != found:
        odd = sorted(set(expected.items()) ^ set(found.items()))[0][0]
        raise ValueError(f"{path} holds no {what}: {odd!r} is missing, unknown or of another shape")
    net.load_state_dict(state)


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
    """Fills ``net`` from one of our files and returns the file's notes.

    Raises ValueError if the file is missing, not safetensors, truncated, of another architecture, or has tensors
    of other names or shapes, or values that are not finite.
    """
    notes, tensors = _read(path, architecture)
    if notes.get("architecture") != architecture:
        held = notes.get("architecture", "no architecture's name")
        raise ValueError(f"{path}: expected weights of {architecture}, found {held}")
    if not all(torch.isfinite(value).all() for value in tensors.values()):
        raise ValueError(f"{path}: weights of {architecture} hold values that are not finite")
    load_exactly(net, tensors, path, f"weights of {architecture}")
    return notes


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
    """The file's SHA-256 in hexadecimal, as in the model card."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
