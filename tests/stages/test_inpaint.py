"""Stage 2: nothing outside its mask changes, whatever the model does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from qrefine.config import RefineConfig, load_config
from qrefine.quality.map import QualityMap
from qrefine.quality.regions import flatten, mask, strength
from qrefine.sample import Sample
from qrefine.stages.inpaint import Inpaint
from qrefine.stages.noise import Noise
from qrefine.stages.stage import run_stages
from tests.stages.backends import Idle, Wild, quality
from tests.support import photo

PAPER = load_config(None, ["mode=paper"])
FUSED = load_config(None, ["mode=fused"])
IMAGE = photo("coffee", 48)
MIXED = quality([[0.1, 0.9, 0.95], [0.5, 0.9, 0.9], [0.9, 0.9, 0.65]])


def outside(sample: Sample, config: RefineConfig) -> np.ndarray:
    return flatten(sample.quality, *sample.image.shape[:2]) >= np.float32(config.bounds.mq)


@settings(max_examples=40, deadline=None)
@given(
    values=npst.arrays(np.float32, (4, 4), elements=st.floats(0, 1, width=32)),
    config=st.sampled_from([PAPER, FUSED]),
    size=st.sampled_from([(48, 48), (100, 33), (1, 1), (3, 200)]),
)
def test_not_one_pixel_outside_the_mask_changes(
    values: np.ndarray, config: RefineConfig, size: tuple[int, int]
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    sample = Sample(decoded=image, before=QualityMap(values), seed=5)
    sample = run_stages([Noise(config), Inpaint(config, Wild())], [sample])[0]
    assert sample.error is None
    untouched = outside(sample, config)
    assert np.array_equal(sample.pixels[untouched], image[untouched])


@pytest.mark.parametrize("config", [PAPER, FUSED], ids=["paper", "fused"])
def test_everything_inside_the_mask_is_the_models(config: RefineConfig) -> None:
    done = Inpaint(config, Wild())([Sample(decoded=IMAGE, before=MIXED)])[0]
    inside = ~outside(done, config)
    assert inside.any()
    assert (done.pixels[inside] != IMAGE[inside]).any(axis=-1).all()
    assert done.stages == ("inpaint",)


def test_the_paper_gives_the_mask_and_fused_a_strength_for_each_pixel() -> None:
    plane = flatten(MIXED, 48, 48)
    expected = [(PAPER, 0.5 * mask(plane, 0.7)), (FUSED, strength(plane, 0.4, 0.7, 0.5))]
    for config, full in expected:
        restorer = Wild()
        half = config.model_copy(update={"inpaint": config.inpaint.model_copy(update={"strength": 0.5})})
        Inpaint(half, restorer)([Sample(decoded=IMAGE, prompt="a cup", seed=9, before=MIXED)])
        [(_, planes, prompts, seeds)] = restorer.calls
        assert sum(float(p.sum()) for p in planes) == pytest.approx(float(full.sum()), rel=1e-5)
        assert max(float(p.max()) for p in planes) == pytest.approx(0.5)
        assert set(prompts) == {"a cup"}
        assert set(seeds) == {9}


def test_denoising_starts_from_the_noised_image() -> None:
    restorer = Wild()
    noised = Noise(PAPER)([Sample(decoded=IMAGE, before=MIXED, seed=3)])[0]
    Inpaint(PAPER, restorer)([noised])
    given_ = np.concatenate([crop.reshape(-1) for crop in restorer.calls[0][0]])
    assert given_.size <= IMAGE.size
    whole = [crop for crop in restorer.calls[0][0] if crop.shape == IMAGE.shape]
    assert whole
    assert np.array_equal(whole[0], noised.pixels)


def test_a_model_that_changes_nothing_leaves_the_source_and_no_stage() -> None:
    done = Inpaint(FUSED, Idle())([Sample(decoded=IMAGE, before=MIXED)])[0]
    assert done.refined is None
    assert done.stages == ()


def test_only_images_with_a_patch_below_the_bound_are_wanted() -> None:
    stage = Inpaint(FUSED, Wild())
    assert stage.wants(Sample(decoded=IMAGE, before=quality([[0.69, 1], [1, 1]])))
    assert not stage.wants(Sample(decoded=IMAGE, before=quality([[0.7, 1], [1, 1]])))


def test_all_samples_go_to_the_model_in_one_call() -> None:
    restorer = Wild()
    Inpaint(FUSED, restorer)(
        [Sample(decoded=IMAGE, before=MIXED), Sample(decoded=photo("rocket", 64), before=MIXED)]
    )
    assert len(restorer.calls) == 1


def test_a_source_is_never_written_to() -> None:
    source = IMAGE.copy()
    source.setflags(write=False)
    Inpaint(PAPER, Wild())([Sample(decoded=source, before=MIXED)])
    assert np.array_equal(source, IMAGE)
