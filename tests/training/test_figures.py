import numpy as np
import pytest

from qrefine.quality.map import QualityMap
from qrefine.training.degradations import FAMILIES, KINDS, degrade
from qrefine.training.figures import (
    RESTORED,
    Gain,
    auc,
    by_family,
    by_kind,
    cases,
    patch_aucs,
    perfect_score,
    psnr,
    restoration_gains,
    severity_correlations,
    spearman,
)
from qrefine.training.niqe import fit_niqe
from qrefine.training.scenes import dead_leaves


@pytest.fixture(scope="module")
def photos():
    scenes = (dead_leaves(224, np.random.default_rng(seed)) for seed in range(4))
    return [scene.clip(0, 255).astype(np.uint8) for scene in scenes]


@pytest.mark.parametrize(
    ("scores", "truth", "expected"),
    [
        ([0.1, 0.2, 0.8, 0.9], [0, 0, 1, 1], 1.0),
        ([0.9, 0.8, 0.2, 0.1], [0, 0, 1, 1], 0.0),
        ([0.5, 0.5, 0.5, 0.5], [0, 1, 0, 1], 0.5),
        ([0.1, 0.6, 0.4, 0.9], [0, 0, 1, 1], 0.75),
    ],
)
def test_auc(scores, truth, expected):
    assert auc(np.array(scores), np.array(truth, bool)) == pytest.approx(expected)


def test_auc_of_one_sort_is_no_number():
    assert np.isnan(auc(np.array([1.0, 2.0]), np.array([True, True])))


def test_spearman():
    assert spearman([1, 2, 3, 4], [10, 100, 1000, 5000]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == pytest.approx(-1)
    assert spearman([1, 2, 2, 3], [1, 2, 2, 3]) == pytest.approx(1)


def test_psnr_within_a_region():
    black = np.zeros((4, 4, 3), np.uint8)
    grey = black.copy()
    grey[0, 0] = 255
    assert psnr(black, grey) == pytest.approx(10 * np.log10(16))
    assert psnr(black, grey, np.eye(4, dtype=bool)) == pytest.approx(10 * np.log10(4))
    assert psnr(black, black) == float("inf")


def test_cases_take_kinds_in_turn_and_stay_in_range(photos):
    found = list(cases(photos, ("jpeg", "gaussian_noise"), 0.2, 0.4, 3, 0))
    assert [case.kind for case in found] == ["jpeg", "gaussian_noise"] * 6
    assert all(0.2 <= case.severity <= 0.4 for case in found)
    for case in found:
        assert (case.damaged != case.clean)[case.region == 0].mean() < 0.05


class Told:
    """A mapper that measures the true damage: what a perfect one would score."""

    def __init__(self, photos):
        self.photos = photos

    def __call__(self, images):
        return [self.score(image) for image in images]

    def score(self, image):
        change = min((np.abs(image.astype(float) - p).max(2) for p in self.photos), key=np.mean)
        blocks = change.reshape(16, 14, 16, 14).mean((1, 3))
        return QualityMap(np.clip(1 - blocks / 255, 0, 1))


class Guess:
    """A mapper that knows nothing."""

    def __init__(self):
        self.rng = np.random.default_rng(0)

    def __call__(self, images):
        return [QualityMap(self.rng.random((16, 16))) for _ in images]


def test_figures_tell_a_mapper_that_knows_from_one_that_guesses(photos):
    told, guessed = (patch_aucs(mapper, photos, 0.4, 1.0, 0, 5) for mapper in (Told(photos), Guess()))
    assert np.mean([value for _, value in told]) > 0.9
    assert 0.4 < np.mean([value for _, value in guessed]) < 0.6
    assert {kind for kind, _ in told} <= set(KINDS)


def test_correlations_rank_severity(photos):
    told, guessed = (
        severity_correlations(lambda case, mapper=mapper: mapper([case.damaged])[0].score, photos * 2, 0)
        for mapper in (Told(photos), Guess())
    )
    assert np.mean(list(told.values())) > 0.7
    assert abs(np.mean(list(guessed.values()))) < 0.3
    perfect = severity_correlations(perfect_score, photos * 2, 0)
    assert np.mean(list(perfect.values())) > 0.9
    assert all(perfect[kind] >= told[kind] - 0.2 for kind in KINDS)


def test_gains_are_measured_where_the_damage_is(photos):
    perfect = restoration_gains(lambda case: case.clean, photos, 0.3, 1.0, 0, 3)
    nothing = restoration_gains(lambda case: case.damaged, photos, 0.3, 1.0, 0, 3)
    assert all(gain.after == float("inf") for gain in perfect)
    assert all(gain.after == gain.before for gain in nothing)
    assert set(by_kind(nothing)) <= {kind for family in RESTORED for kind in FAMILIES[family]}


def test_kinds_and_families_weigh_alike():
    gains = [Gain("jpeg", 0.5, 30, 31), Gain("jpeg", 0.5, 30, 33), Gain("webp", 0.5, 30, 30)]
    gains += [Gain(kind, 0.5, 20, 24) for kind in ("gaussian_blur", "gaussian_noise", "downsample")]
    assert by_kind(gains)["jpeg"] == 2
    assert by_family(gains)["compression"] == 1
    assert next(iter(by_kind(gains))) == "gaussian_blur"  # the order of KINDS


@pytest.mark.parametrize("kind", ["gaussian_noise", "gaussian_blur", "jpeg"])
def test_niqe_prefers_what_is_clean(photos, kind):
    niqe = fit_niqe(photos[:3])
    damaged = degrade(photos[3], kind, 0.8, np.random.default_rng(0))
    assert niqe(photos[3]) < niqe(damaged)


def test_niqe_of_a_small_image_is_no_number(photos):
    niqe = fit_niqe(photos)
    assert np.isnan(niqe(photos[0][:100, :100]))
