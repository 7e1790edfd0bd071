"""Weights from files: safetensors, or torch files read with ``weights_only``; nothing is unpickled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch
import torch

MESSAGE_CHARS = 200


def read_checkpoint(path: str | Path | None, what: str) -> Any:
    """What the file holds, on the CPU: a state dict, or a dictionary with one inside.

    ``what`` names it in the one-line ValueError that says what was looked for, and where.
    """
    if path is None:
        raise ValueError(f"weights are needed: a file with {what}")
    file = Path(path).expanduser()
    if not file.is_file():
        raise ValueError(f"no {what} at {file.absolute()}")
    try:
        if file.suffix == ".safetensors":
            return safetensors.torch.load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # zip, pickle and safetensors errors of many classes
        raise ValueError(f"{file} holds no {what}: {one_line(error)}") from error


def load_exactly(module: torch.nn.Module, state: Any, path: str | Path | None, what: str) -> None:
    """Load a state dict whose names and shapes are the module's own; a one-line ValueError otherwise."""
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError(f"{path} holds no {what}: it is no dictionary of tensors")
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{path} holds no {what}: {one_line(error)}") from error


def one_line(error: Exception) -> str:
    """An error's message without line breaks, cut where it would fill the screen."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= MESSAGE_CHARS else text[:MESSAGE_CHARS] + " ..."
