"""A backend's options: frozen settings that are checked before any worker starts. Imports no model library.

A backend sets the class attribute ``Options`` to its options class; its constructor takes the options as keyword
arguments and validates them with `Options.of`. Without ``Options`` it takes the keyword arguments it declares.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field, ValidationError
from typing_extensions import Self

from qrefine.config import Backend
from qrefine.settings import Settings, allowed_range, explained


class Options(Settings):
    """No options; a subclass's fields are what the YAML may say under ``options``."""

    unknown: ClassVar[str] = "option (qrefine config --backend NAME lists them)"

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Raises ValueError with one line that names each wrong option and what is allowed."""
        try:
            return cls.model_validate(dict(given))
        except ValidationError as error:
            raise ValueError(explained(error, cls)) from error

    def backends(self) -> Sequence[tuple[str, Backend]]:
        """Other backends that these options name, each with its kind: they are checked too."""
        return ()

    @classmethod
    def listed(cls) -> Iterator[str]:
        """A line for each option: its name, default, range and meaning."""
        for name, field in cls.model_fields.items():
            default = "required" if field.is_required() else field.get_default(call_default_factory=True)
            allowed = f" ({found})" if (found := allowed_range(field)) else ""
            yield f"{name}: {default}  # {field.description}{allowed}"


class DeviceOptions(Options):
    device: str | None = Field(None, description="torch device, such as cuda:0; null: the first GPU, else the CPU")


class BatchOptions(DeviceOptions):
    batch_size: int | None = Field(None, ge=1, le=4096, description="images in a batch; null: 1 on a CPU")
