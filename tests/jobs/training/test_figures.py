"""Figures of the evaluation: right on maps and restorers whose quality is known."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PIL

from training import figures, pictures
from training.contact import sheet
from training.degradations_cv2 import FAMILIES, KINDS, degrade
from training.figures import Case, Changes


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    made = []
    for _ in range(3):
        coarse = rng.uniform(0, 255, (20, 20, 3)).astype(np.float32)
        smooth = cv2.resize(coarse, (160, 160), interpolation=cv2.INTER_CUBIC)
        made.append(np.clip(smooth + rng.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8))
    return made


def truth(case: Case, n: int = 16) -> np.ndarray:
    return (1 - case.severity * figures.on_grid(case.region, (n, n))).astype(np.float32)


def test_auc_and_ranks() -> None:
    scores = np.array([0.1, 0.4, 0.35, 0.8])
    assert figures.auc(scores, np.array([False, False, True, True])) == 0.75
    assert figures.auc(np.zeros(4), np.array([False, False, True, True])) == 0.5
    assert np.isnan(figures.auc(scores, np.zeros(4, bool)))
    assert figures.spearman([1, 2, 3, 4], [10, 100, 1000, 10000]) == pytest.approx(1)
    assert figures.spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)


def test_every_kind_damages_and_leaves_the_picture_alone(photos: list[np.ndarray]) -> None:
    before = photos[0].copy()
    for kind in KINDS:
        mild, strong = (degrade(photos[0], kind, level, np.random.default_rng(4)) for level in (0.1, 0.9))
        assert mild.shape == strong.shape == photos[0].shape
        assert mild.dtype == strong.dtype == np.uint8
        assert figures.psnr(photos[0], strong) < figures.psnr(photos[0], mild)
    assert np.array_equal(before, photos[0])
    assert {kind for kinds in FAMILIES.values() for kind in kinds} == set(KINDS)


def test_cases_cover_kinds_and_severities(photos: list[np.ndarray]) -> None:
    of = list(figures.cases(photos, ("jpeg", "warp"), 0.2, 0.8, 4, 1))
    assert [case.kind for case in of] == ["jpeg"] * 4 + ["warp"] * 4
    assert all(0.2 <= case.severity <= 0.8 for case in of)
    assert [case.severity for case in of[:4]] == sorted(case.severity for case in of[:4])
    again = list(figures.cases(photos, ("jpeg", "warp"), 0.2, 0.8, 4, 1))
    assert all(np.array_equal(a.damaged, b.damaged) for a, b in zip(of, again, strict=True))
    for case in of:
        untouched = case.region == 0
        assert np.array_equal(case.damaged[untouched], case.clean[untouched])


def test_a_perfect_map_is_perfect_and_a_turned_one_is_not(photos: list[np.ndarray]) -> None:
    of = list(figures.cases(photos, tuple(KINDS), 0.4, 1.0, 2, 1))
    maps = [truth(case) for case in of]
    assert min(value for _, value in figures.patch_aucs(maps, of)) > 0.99
    assert max(value for _, value in figures.patch_aucs([1 - q for q in maps], of)) < 0.01
    whole = list(figures.cases(photos, ("jpeg", "gaussian_blur"), 0, 1, 6, 1, local=False))
    ranks = figures.rank_correlations([truth(case) for case in whole], whole)
    assert set(ranks) == {"jpeg", "gaussian_blur"}
    assert min(ranks.values()) > 0.9


def test_maps_need_not_be_square(photos: list[np.ndarray]) -> None:
    case = figures.damage(photos[0][:80], "gaussian_noise", 0.8, np.random.default_rng(2), True)
    flat = figures.on_grid(case.region, (5, 10))
    assert flat.shape == (5, 10)
    assert figures.patch_aucs([1 - flat], [case])[0][1] > 0.99


def test_calibration_shows_an_optimist(photos: list[np.ndarray]) -> None:
    of = list(figures.cases(photos, ("gaussian_noise",), 0.3, 1.0, 6, 1, local=False))
    edges = [0, 0.25, 0.5, 0.75, 1.0]
    for bin_ in figures.calibration([truth(case) for case in of], of, edges):
        assert bin_.predicted == pytest.approx(bin_.true, abs=1e-5)
        assert bin_.low <= bin_.predicted <= bin_.high
    optimist = figures.calibration([np.sqrt(truth(case)) for case in of], of, edges)
    assert all(bin_.predicted > bin_.true for bin_ in optimist)
    assert sum(bin_.patches for bin_ in optimist) == 6 * 256


def test_gains_of_the_truth_of_nothing_and_of_harm(photos: list[np.ndarray]) -> None:
    of = list(figures.cases(photos, figures.RESTORED, 0.4, 1.0, 1, 1))
    assert len({case.kind for case in of}) == 13
    nothing = figures.gain_by_kind(figures.gains(lambda case: case.damaged, of))
    assert set(nothing.values()) == {0.0}
    perfect = figures.gains(lambda case: case.clean, of)
    assert min(figures.gain_by_kind(perfect).values()) > 20
    assert set(figures.gain_by_family(perfect)) == {"blur", "noise", "compression", "resampling"}
    assert max(figures.gain_by_kind(figures.gains(lambda case: 255 - case.clean, of)).values()) < 0

    def far(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.abs(a.astype(float) - b).mean())

    assert set(figures.perceptual_by_kind(perfect, far).values()) == {0.0}
    half = figures.gains(lambda c: np.rint(c.clean / 2 + c.damaged / 2).astype(np.uint8), of)
    assert figures.perceptual_by_kind(half, far)["gaussian_noise"] == pytest.approx(0.5, abs=0.05)


def test_changes_count_what_was_changed(photos: list[np.ndarray]) -> None:
    brighter = np.clip(photos[0].astype(int) + 4, 0, 255).astype(np.uint8)
    changes = Changes.of(photos, [brighter, None, photos[2].copy()])
    assert changes.pictures == 3
    assert len(changes.levels) == 1
    assert 30 < changes.levels[0] < 40


def shard(path: Path, members: dict[str, tuple[str, np.ndarray]]) -> None:
    with tarfile.open(path, "w") as tar:
        for key, (source, image) in members.items():
            out = io.BytesIO()
            PIL.fromarray(image).save(out, "PNG")
            for ending, data in ((".png", out.getvalue()), (".json", json.dumps({"source": source}).encode())):
                member = tarfile.TarInfo(key + ending)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))


def test_photographs_are_of_subjects_that_training_never_sees(tmp_path: Path, photos: list[np.ndarray]) -> None:
    """The same split as the training's pack: a subject that is trained on does not count."""
    small = photos[0][:8, :8]
    trained = {f"t{i}": (f"dreambooth/dataset/dog/{i}.jpg", small) for i in range(9)}
    held = {f"h{i}": (f"dreambooth/dataset/cat{i}/0.jpg", small) for i in range(24)}
    shard(tmp_path / "000000.tar", trained)
    shard(tmp_path / "000003.tar", {**held, "dog": ("dreambooth/dataset/dog/77.jpg", small)})
    found = pictures.photographs(str(tmp_path / "*.tar"))
    assert "dog" not in found
    assert set(found) == set(held)


def test_held_out_looks_are_the_same_every_time() -> None:
    from training.looks import held_out_names

    one, two = (pictures.looks_by_family(1, 48, [], held_out=True) for _ in range(2))
    assert tuple(one) == held_out_names()
    assert all(np.array_equal(a, b) for n in one for a, b in zip(one[n].values(), two[n].values(), strict=True))


def test_thinning_keeps_the_middle(photos: list[np.ndarray]) -> None:
    named = {str(i): photo for i, photo in enumerate(photos)}
    thin = pictures.thinned(named, 2, 100)
    assert len(thin) == 2
    assert all(np.array_equal(image, named[key][30:130, 30:130]) for key, image in thin.items())


def test_alpha_lies_on_white(tmp_path: Path) -> None:
    image = np.zeros((4, 4, 4), np.uint8)
    image[0, 0] = (10, 20, 30, 255)
    PIL.fromarray(image).save(tmp_path / "a.png")
    found = pictures.folder(tmp_path)["a.png"]
    assert found[0, 0].tolist() == [10, 20, 30]
    assert found[1, 1].tolist() == [255, 255, 255]
    with pytest.raises(ValueError, match="no images"):
        pictures.folder(tmp_path / "none")


def test_a_sheet_holds_all_cells(tmp_path: Path, photos: list[np.ndarray]) -> None:
    sheet(tmp_path / "made" / "s.png", [("one", [photos[0], np.zeros((4, 4), np.float32)])] * 5, side=40, wide=132)
    with PIL.open(tmp_path / "made" / "s.png") as page:
        assert page.size == (3 * 44, 2 * (14 + 2 * 42))
    sheet(tmp_path / "none.png", [])
    assert not (tmp_path / "none.png").exists()
