"""Backends by name; what cannot be found or loaded is one line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from qrefine.config import Backend, MapperSettings
from qrefine.errors import UserError
from qrefine.models.judges.piqe import piqe_score
from qrefine.models.mappers.piqe import PiqeMapper
from qrefine.models.registry import (
    MAPPERS,
    RESTORERS,
    check_backends,
    load_judge,
    load_mapper,
    load_restorer,
    options_of,
)
from qrefine.models.restorers.classical import ClassicalRestorer
from qrefine.quality.map import Image, QualityMap

GOOD = MapperSettings(name="piqe")


class Grid:
    """A mapper that keeps to its grid."""

    def __init__(self, weights: str | None = None, grid: int = 16) -> None:
        self.grid = grid

    def __call__(self, images: Sequence[Image]) -> list[QualityMap]:
        return [QualityMap(np.ones((self.grid, self.grid))) for _ in images]


class Broken:
    def __init__(self, **options: object) -> None:
        raise RuntimeError("size mismatch for conv.weight:\n\tcopying a param\n")


def test_known_names_are_loaded_with_their_settings() -> None:
    mapper = load_mapper(MapperSettings(name="piqe", grid=5))
    assert isinstance(mapper, PiqeMapper)
    assert mapper.grid == 5
    assert isinstance(load_restorer(Backend(name="classical")), ClassicalRestorer)
    assert load_judge("piqe") is piqe_score


def test_mappers_that_can_are_told_how_large_a_patch_may_be() -> None:
    image = np.zeros((40, 3072, 3), np.uint8)
    assert load_mapper(MapperSettings(name="piqe"))([image])[0].n == 64
    assert load_mapper(MapperSettings(name="piqe", patch=None))([image])[0].n == 16
    assert load_mapper(MapperSettings(name=f"{__name__}:Grid", grid=5))([image])[0].n == 5


def test_backends_from_outside_are_loaded_by_their_path() -> None:
    assert isinstance(
        load_restorer(Backend(name="qrefine.models.restorers.classical:ClassicalRestorer")), ClassicalRestorer
    )
    assert load_judge("qrefine.models.judges.piqe:piqe_score") is piqe_score


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("nosuch", "unknown restorer 'nosuch': known are .*classical"),
        ("no.such.module:X", "cannot import 'no.such.module': No module named"),
        ("qrefine.models.restorers.classical:Nosuch", "has no class or function 'Nosuch'"),
        ("os:sep", "has no class or function 'sep'"),
        ("os:", "has no class or function ''"),
        (":X", "cannot import ''"),
        (".relative:X", "cannot import '.relative'"),
    ],
)
def test_names_that_resolve_to_nothing_are_refused_before_anything_starts(name: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as loaded:
        load_restorer(Backend(name=name))
    with pytest.raises(UserError, match=reason) as checked:
        check_backends(GOOD, [Backend(name=name)], [])
    for caught in (loaded, checked):
        assert "\n" not in str(caught.value)


def test_a_module_that_breaks_on_import_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_backend.py").write_text("def f(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UserError, match="cannot import 'broken_backend'") as caught:
        load_judge("broken_backend:f")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (Backend(name="classical", weights="x.safetensors"), "has no weights"),
        (Backend(name=f"{__name__}:Broken"), "size mismatch for conv.weight: copying a param$"),
    ],
)
def test_what_cannot_be_loaded_is_one_line_with_the_backend_and_the_reason(settings: Backend, reason: str) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        load_restorer(settings)
    assert str(caught.value).startswith(f"restorer {settings.name!r} cannot be loaded: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (Backend(name="classical", options={"nosuch": 1}), "nosuch: unknown option"),
        (Backend(name="classical", options={"weights": 1}), "weights: unknown option"),
        (Backend(name="embedded", options={"tile": 64}), r"tile: .*, got 64 \(allowed: >= 112 and <= 16384\)"),
        (Backend(name="spandrel", options={"dtype": "int8"}), "dtype: Input should be 'bfloat16' or 'float32'"),
        (Backend(name="spandrel", options={"tile": 100}), "overlap is a quarter of a tile at most"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_starts(settings: Backend, reason: str) -> None:
    for refuse in (load_restorer, lambda backend: check_backends(GOOD, [backend], [])):
        with pytest.raises(UserError, match=f"^restorer {settings.name!r}: .*{reason}") as caught:
            refuse(settings)
        assert "\n" not in str(caught.value)


class Patient(PiqeMapper):
    """A subclass with an option of its own."""

    def __init__(self, weights: str | None = None, grid: int = 16, patience: float = 0.0) -> None:
        super().__init__(weights, grid)
        self.patience = patience


class Inheriting(PiqeMapper):
    """A subclass with its base's constructor."""


def test_a_subclass_with_a_constructor_of_its_own_has_options_of_its_own() -> None:
    name, options = f"{__name__}:Patient", {"patience": 2.0}
    check_backends(MapperSettings(name=name, options=options), [], [])
    mapper = load_mapper(MapperSettings(name=name, options=options))
    assert isinstance(mapper, Patient)
    assert mapper.patience == 2
    with pytest.raises(UserError, match="patience: unknown option"):
        check_backends(MapperSettings(name=f"{__name__}:Inheriting", options=options), [], [])


def test_every_backend_lists_its_options_and_their_ranges() -> None:
    for name in (*MAPPERS, *RESTORERS):
        if name.startswith("diffusers"):
            pytest.importorskip("diffusers", reason="the extra qrefine[diffusion] is not installed")
        assert options_of(name), name
    (tiles,) = options_of("spandrel")
    assert (
        "overlap: 32  # pixels in which neighbouring tiles fade into each other (>= 1 and <= 4096)"
        in tiles.listed()
    )
    assert options_of(f"{__name__}:Broken") == []


def test_a_cache_shares_equal_settings_and_only_those() -> None:
    cache: dict[str, object] = {}
    first = load_mapper(MapperSettings(name="piqe", grid=5), cache)
    assert load_mapper(MapperSettings(name="piqe", grid=5), cache) is first
    assert load_mapper(MapperSettings(name="piqe", grid=6), cache) is not first
    assert load_mapper(MapperSettings(name="piqe", grid=5)) is not first
    assert load_restorer(Backend(name="classical"), cache) is load_restorer(Backend(name="classical"), cache)


def test_weights_that_are_not_there_are_refused_before_anything_starts(tmp_path: Path) -> None:
    for weights in (str(tmp_path / "none"), "none.safetensors", "./none"):
        with pytest.raises(UserError, match="its weights are not at"):
            check_backends(GOOD, [Backend(name="classical", weights=weights)], [])
    (tmp_path / "there.pth").touch()
    check_backends(GOOD, [Backend(name="classical", weights=str(tmp_path / "there.pth"))], ["piqe"])
    check_backends(GOOD, [Backend(name="classical", weights="owner/model")], [])


def test_unknown_judges_and_mappers_are_refused_by_their_role() -> None:
    with pytest.raises(UserError, match="unknown judge 'nosuch'"):
        check_backends(GOOD, [], ["piqe", "nosuch"])
    with pytest.raises(UserError, match="unknown mapper 'classical'"):
        check_backends(MapperSettings(name="classical"), [], [])
