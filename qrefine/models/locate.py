"""Where weights are: a path on this machine, or the id of a model on the hub."""

from __future__ import annotations

import re
from pathlib import Path

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
SUFFIXES = frozenset({".safetensors", ".pt", ".pth", ".ckpt", ".bin"})


def local_path(weights: str) -> Path | None:
    """The local path that ``weights`` names, even if it does not exist.

    None if ``weights`` may be something else: ``owner/model`` is a hub id unless such a folder exists, and a bare
    name is left to the backend.
    """
    path = Path(weights).expanduser()
    certain = weights.startswith(("/", "./", "../", "~")) or path.suffix in SUFFIXES
    return path if certain or path.exists() else None


def is_hub_id(weights: str) -> bool:
    return local_path(weights) is None and HUB_ID.fullmatch(weights) is not None


def model_source(weights: str | None, index: str, what: str) -> str:
    """A folder with the file ``index`` in it, or a hub id; ``what`` names the kind of model in errors.

    Raises ValueError with one line that says what was looked for, and where.
    """
    if weights is None:
        raise ValueError(f"weights are needed: a folder with {what} ({index}), or a hub id such as owner/model")
    if is_hub_id(weights):
        return weights
    path = Path(weights).expanduser()
    if path.is_file():
        raise ValueError(f"{path} is a file: {what} is a folder with {index}")
    if not path.is_dir():
        raise ValueError(f"no folder {path}, and {weights!r} is no hub id (owner/model)")
    if not (path / index).is_file():
        raise ValueError(f"no {what} in {path.absolute()}: {index} is missing")
    return str(path)
