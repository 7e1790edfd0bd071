from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from qrefine.config import Backend, RefineConfig
from qrefine.errors import UserError
from qrefine.report.inspection import Inspector, describe, draw_panel, read_image
from qrefine.stages.refiner import Refiner
from tests.support import SETTINGS, encoded, noisy, photo, qrefine


def test_it_comes_to_what_a_refiner_comes_to(plain: RefineConfig) -> None:
    image = noisy(photo(size=192))
    inspection = Inspector(plain)(image, key="a")
    refined = Refiner(plain)([image], keys=["a"])[0]
    assert inspection.status == refined.status == "refined"
    np.testing.assert_array_equal(inspection.result.pixels, refined.image)
    assert inspection.quality == refined.before
    assert [step.stage for step in inspection.steps] == ["map", "inpaint", "accept", "judge"]


def test_the_terminal_tells_q_and_the_map(plain: RefineConfig) -> None:
    inspection = Inspector(plain)(noisy(photo(size=192)), key="a")
    lines = [line.plain for line in describe(inspection)]
    assert lines[0].startswith("a   192 x 192   refined (")
    assert lines[1].split() == [
        "quality",
        f"{inspection.quality.score:.4f}",
        "->",
        f"{inspection.result.after.score:.4f}",  # type: ignore[union-attr]
    ]
    grid = np.array([line.split() for line in lines[-plain.mapper.grid :]], dtype=int)
    np.testing.assert_allclose(grid / 100, inspection.quality.values, atol=0.011)


class Levelled:
    """A backend whose strengths are three noise levels; it changes nothing."""

    context = 0

    def __init__(self, weights: str | None = None) -> None: ...

    def levels(self) -> tuple[float, ...]:
        return (0.0, 0.25, 0.5, 1.0)

    def __call__(self, images, strengths, prompts, seeds):  # type: ignore[no-untyped-def]
        return list(images)


def test_it_tells_the_levels_that_strengths_can_have(plain: RefineConfig) -> None:
    backend = Backend(name="tests.report.test_inspection:Levelled")
    config = plain.model_copy(update={"inpaint": plain.inpaint.model_copy(update={"name": backend.name})})
    config = config.model_copy(update={"enhance": config.enhance.model_copy(update={"prompt": backend})})
    lines = [line.plain for line in describe(Inspector(config)(noisy(photo(size=64)), key="a"))]
    assert "levels     inpaint, enhance prompt, of noise, in 3 steps: .25 .50 1.00" in lines
    lines = [line.plain for line in describe(Inspector(plain)(noisy(photo(size=64)), key="a"))]
    assert not any(line.startswith("levels") for line in lines)


def test_a_fine_map_fits_a_terminal(plain: RefineConfig) -> None:
    fine = plain.model_copy(update={"mapper": plain.mapper.model_copy(update={"grid": 48})})
    inspection = Inspector(fine)(noisy(photo(size=192)), key="a")
    assert inspection.quality.n == 48
    lines = [line.plain.split() for line in describe(inspection)][-24:]
    assert {len(line) for line in lines} == {24}
    assert min(int(cell) for line in lines for cell in line) == int(inspection.quality.values.min() * 100)


@pytest.mark.parametrize("image", [noisy(photo(size=192)), np.full((192, 192, 3), 128, dtype=np.uint8)])
def test_a_panel_has_a_tile_for_each_step(plain: RefineConfig, image: np.ndarray) -> None:
    inspection = Inspector(plain)(image)
    steps = sum(step.stage not in ("map", "accept", "judge") for step in inspection.steps)
    tiles = 5 + steps + (inspection.status == "refined")
    assert tiles == (7 if image.std() else 5)
    rows = -(-tiles // 4)
    assert draw_panel(inspection).size == (4 * 210 + 10, rows * (192 + 50) + 10)


def test_what_is_no_image_is_told(tmp_path: Path, plain: RefineConfig) -> None:
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(UserError, match="not an image"):
        read_image(str(tmp_path / "a.png"), plain)
    with pytest.raises(UserError, match=r"b\.png"):
        read_image(str(tmp_path / "b.png"), plain)


def test_the_command_prints_and_draws_a_panel(tmp_path: Path) -> None:
    (tmp_path / "cat.png").write_bytes(encoded(noisy(photo("chelsea", 160))))
    done = qrefine("inspect", tmp_path / "cat.png", "-o", tmp_path / "panels", *SETTINGS)
    assert done.returncode == 0, done.stderr
    assert "quality    0." in done.stdout
    assert PIL.Image.open(tmp_path / "panels" / "cat.inspect.png").width > 600
