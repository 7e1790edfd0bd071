"""Settings as YAML with a comment on each, for ``qrefine config --show``."""

from __future__ import annotations

from collections.abc import Iterator

import yaml

from qrefine.config import RefineConfig
from qrefine.settings import Settings


def to_yaml(config: RefineConfig) -> str:
    """The effective settings as YAML with a comment on each; secrets in ``storage_options`` are masked."""
    return "\n".join(_yaml_lines(config, "")) + "\n"


def _yaml_lines(settings: Settings, indent: str) -> Iterator[str]:
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        comment = f"  # {field.description}" if field.description else ""
        if isinstance(value, Settings):
            yield f"{indent}{name}:{comment}"
            yield from _yaml_lines(value, indent + "  ")
            continue
        if name == "storage_options":
            value = dict.fromkeys(value, "***")
        elif name == "pools" and value is not None:
            value = [pool.model_dump(mode="json") for pool in value]
        elif isinstance(value, tuple):
            value = list(value)
        text = yaml.safe_dump(value, default_flow_style=True, width=10**6)
        yield f"{indent}{name}: {text.removesuffix('...' + chr(10)).strip()}{comment}"
