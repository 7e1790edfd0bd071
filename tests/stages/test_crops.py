"""Crops: disjoint, complete, exact outside the defect, and one pass over images that are broken all over."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrefine.stages.crops import Box, defect_boxes, defect_crops, fit, paste_weight, restore_defects

BUCKETS = ((64, 64), (64, 128), (128, 64), (128, 128))


class Recorder:
    """Answers with ``colour`` everywhere, or with what it was given; remembers its calls."""

    def __init__(self, context=8, colour=None):
        self.context = context
        self.colour = colour
        self.calls = []

    def __call__(self, images, strengths, prompts, seeds):
        self.calls.append((images, strengths, prompts, seeds))
        return [image if self.colour is None else np.full_like(image, self.colour) for image in images]


class BucketRecorder(Recorder):
    def __init__(self, buckets=BUCKETS, feather=0.0, whole=False, **options):
        super().__init__(**options)
        self.buckets, self.feather, self.whole = buckets, feather, whole


@st.composite
def planes(draw):
    height, width = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    plane = np.zeros((height, width), np.float32)
    for _ in range(draw(st.integers(0, 4))):
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        tall, wide = draw(st.integers(1, 90)), draw(st.integers(1, 90))
        plane[top : top + tall, left : left + wide] = draw(st.sampled_from([0.01, 0.5, 1.0]))
    return plane


def noise_image(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


@settings(max_examples=80, deadline=None)
@given(planes(), st.integers(0, 40))
def test_boxes_are_disjoint_and_hold_every_defect(plane, context):
    written = np.zeros(plane.shape, int)
    for box in defect_boxes(plane, context):
        assert 0 <= box.top < box.bottom <= plane.shape[0]
        assert 0 <= box.left < box.right <= plane.shape[1]
        written[box.pixels] += 1
    assert written.max(initial=0) <= 1
    assert (written[plane > 0] == 1).all()


@settings(max_examples=80, deadline=None)
@given(planes(), st.booleans())
def test_windows_lie_in_the_image_and_hold_their_box(plane, whole):
    height, width = plane.shape
    crops = defect_crops(plane, BucketRecorder(whole=whole))
    assert bool(crops) == bool(plane.any())
    for box, window, size in crops:
        assert size in BUCKETS
        assert window.union(box) == window
        assert window.union(Box(0, 0, height, width)) == Box(0, 0, height, width)


@settings(max_examples=60, deadline=None)
@given(planes(), st.sampled_from([0.0, 5.0]), st.booleans())
def test_pixels_of_strength_zero_are_exact_and_all_others_are_written(plane, feather, buckets):
    image = noise_image(plane.shape) // 2
    restorer = BucketRecorder(feather=feather, colour=255) if buckets else Recorder(colour=255)
    (result,) = restore_defects(restorer, [image], [plane], [""], [0])
    assert np.array_equal(result[plane == 0], image[plane == 0])
    if feather == 0:
        assert (result[plane > 0] == 255).all()
    else:
        assert (result[plane > 0] >= image[plane > 0]).all()


@settings(max_examples=40, deadline=None)
@given(planes())
def test_an_image_that_the_restorer_leaves_alone_comes_back_where_no_scaling_was_needed(plane):
    image = noise_image(plane.shape)
    restorer = BucketRecorder(feather=4)
    (result,) = restore_defects(restorer, [image], [plane], [""], [0])
    unscaled = np.ones(plane.shape, bool)
    for box, window, size in defect_crops(plane, restorer):
        unscaled[box.pixels] = (window.height, window.width) == size
    assert np.array_equal(result[unscaled], image[unscaled])


def test_a_bucket_that_fits_into_the_image_is_shown_unscaled():
    crop = fit(Box(100, 100, 150, 150), 512, 512, BUCKETS)
    assert crop.size == (64, 64)
    assert (crop.window.height, crop.window.width) == (64, 64)


def test_a_window_at_the_border_stays_inside():
    crop = fit(Box(0, 480, 40, 512), 512, 512, BUCKETS)
    assert crop.window == Box(0, 448, 64, 512)


def test_a_long_box_takes_a_long_bucket_and_an_oversized_one_the_largest():
    assert fit(Box(0, 0, 50, 120), 512, 512, BUCKETS).size == (64, 128)
    assert fit(Box(0, 0, 300, 300), 512, 512, BUCKETS).size == (128, 128)


def test_a_small_image_is_enlarged_to_a_bucket_and_keeps_its_size():
    image = noise_image((20, 30))
    restorer = BucketRecorder(colour=9)
    (result,) = restore_defects(restorer, [image], [np.ones((20, 30), np.float32)], [""], [0])
    assert restorer.calls[0][0][0].shape[:2] in BUCKETS
    assert result.shape == image.shape
    assert (result == 9).all()


def test_an_image_broken_all_over_is_done_whole():
    plane = np.zeros((128, 128), np.float32)
    plane[2:30, 2:30] = plane[2:30, 90:120] = plane[90:120, 2:30] = plane[90:120, 90:120] = 1
    (crop,) = defect_crops(plane, BucketRecorder(context=0))
    assert crop == (Box(0, 0, 128, 128), Box(0, 0, 128, 128), (128, 128))


def test_a_large_image_is_not_shrunk_to_be_done_whole():
    plane = np.zeros((512, 512), np.float32)
    for top in range(0, 512, 160):
        for left in range(0, 512, 160):
            plane[top : top + 20, left : left + 20] = 1
    crops = defect_crops(plane, BucketRecorder(context=0))
    assert len(crops) == 16
    assert all((crop.window.height, crop.window.width) == crop.size for crop in crops)


def test_another_defect_in_the_window_is_context_and_not_work():
    plane = np.zeros((512, 512), np.float32)
    plane[100:110, 100:110] = plane[100:110, 140:150] = 1
    restorer = BucketRecorder(context=0)
    restore_defects(restorer, [noise_image((512, 512))], [plane], [""], [0])
    _, strengths, _, _ = restorer.calls[0]
    assert [int(s.sum()) for s in strengths] == [100, 100]


def test_all_images_go_in_one_call_and_crops_of_one_image_have_seeds_of_their_own():
    plane = np.zeros((512, 512), np.float32)
    plane[0:20, 0:20] = plane[480:500, 480:500] = 1
    restorer = BucketRecorder(colour=1)
    images = [noise_image((512, 512), i) for i in range(3)]
    strengths = [plane, np.zeros_like(plane), plane.T.copy()]
    results = restore_defects(restorer, images, strengths, ["a", "b", "c"], [2**63 - 1, 6, 7])
    ((crops, _, prompts, seeds),) = restorer.calls
    assert len(crops) == 4
    assert prompts == ["a", "a", "c", "c"]
    assert seeds[0] == 2**63 - 1
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert results[1] is images[1]


def test_the_answer_for_an_image_is_the_same_in_any_company():
    plane = np.zeros((200, 200), np.float32)
    plane[50:90, 60:100] = 0.7
    image, other = noise_image((200, 200)), noise_image((90, 300), 1)
    alone = restore_defects(BucketRecorder(feather=8, colour=3), [image], [plane], [""], [0])[0]
    planes = [np.ones((90, 300), np.float32), plane]
    company = restore_defects(BucketRecorder(feather=8, colour=3), [other, image], planes, ["", ""], [1, 0])[1]
    assert np.array_equal(alone, company)


def test_the_seam_rises_inside_the_defect_and_the_rim_of_the_image_is_no_edge():
    plane = np.zeros((40, 40), np.float32)
    plane[:, :20] = 0.3
    weight = paste_weight(plane, 10)
    assert (weight[:, 20:] == 0).all()
    assert weight[0, 0] == 1
    assert np.allclose(weight[20, 10:20], np.arange(10, 0, -1) / 10)


@pytest.mark.parametrize("feather", [0.0, 12.0])
def test_a_strength_of_one_everywhere_is_pasted_whole(feather):
    assert (paste_weight(np.ones((9, 9), np.float32), feather) == 1).all()
