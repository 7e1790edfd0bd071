from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from qrefine.config import RefineConfig
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
