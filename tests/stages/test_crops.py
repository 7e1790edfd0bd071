"""Crops: disjoint, complete, exact outside the defect, and one pass over images that are broken all over."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qrefine.stages.boxes import Box, defect_boxes
from qrefine.stages.crops import defect_crops, paste_weight, restore_defects
from qrefine.stages.windows import windows
from tests.support import photo

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
    def __init__(
        self, buckets=BUCKETS, feather=0.0, whole=False, crop_area="image", crop_prompt="auto", **options
    ):
        super().__init__(**options)
        self.buckets, self.feather, self.whole = buckets, feather, whole
        self.crop_area, self.crop_prompt = crop_area, crop_prompt


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


AREAS = st.sampled_from(["native", "image"])


@settings(max_examples=80, deadline=None)
@given(planes(), st.booleans(), AREAS)
def test_windows_lie_in_the_image_and_what_is_written_lies_in_them(plane, whole, area):
    height, width = plane.shape
    crops = defect_crops(plane, BucketRecorder(whole=whole, crop_area=area))
    assert bool(crops) == bool(plane.any())
    written = np.zeros(plane.shape, bool)
    for crop in crops:
        assert crop.size in BUCKETS
        assert crop.window.union(crop.box) == crop.window
        assert crop.defect.union(crop.box) == crop.defect
        assert crop.window.union(Box(0, 0, height, width)) == Box(0, 0, height, width)
        written[crop.box.pixels] = True
    assert written[plane > 0].all()


@settings(max_examples=80, deadline=None)
@given(planes(), AREAS)
def test_nothing_is_shrunk_or_squashed(plane, area):
    """The same scale both ways, up to the rounding of a pixel, and never below 1."""
    for crop in defect_crops(plane, BucketRecorder(crop_area=area)):
        shown = (crop.window.height, crop.window.width)
        long, short = (0, 1) if shown[0] >= shown[1] else (1, 0)
        scale = crop.inner[long] / shown[long]
        assert scale >= 1
        assert abs(crop.inner[short] - shown[short] * scale) <= 1
        assert crop.inner[short] >= shown[short]
        if area == "image":
            assert scale == 1
        elif crop.seam == (0, 0) and min(shown) > 16 and crop.box == crop.defect:
            assert max(crop.inner[0] / crop.size[0], crop.inner[1] / crop.size[1]) > 0.9


@settings(max_examples=60, deadline=None)
@given(planes(), st.sampled_from([0.0, 5.0]), st.sampled_from(["native", "image", None]))
def test_pixels_of_strength_zero_are_exact_and_all_others_are_written(plane, feather, area):
    image = noise_image(plane.shape) // 2
    restorer = BucketRecorder(feather=feather, colour=255, crop_area=area) if area else Recorder(colour=255)
    (result,) = restore_defects(restorer, [image], [plane], [""], [0])
    assert np.array_equal(result[plane == 0], image[plane == 0])
    if feather == 0:
        assert (result[plane > 0] == 255).all()
    else:
        assert (result[plane > 0] >= image[plane > 0]).all()


@settings(max_examples=40, deadline=None)
@given(planes(), AREAS)
def test_what_the_restorer_leaves_alone_comes_back_exactly_whatever_it_was_scaled_by(plane, area):
    image = noise_image(plane.shape)
    (result,) = restore_defects(BucketRecorder(feather=4, crop_area=area), [image], [plane], [""], [0])
    assert np.array_equal(result, image)


SDXL = (
    (640, 1600), (768, 1344), (832, 1216), (896, 1152), (1024, 1024),
    (1152, 896), (1216, 832), (1344, 768), (1600, 640),
)  # fmt: skip


class Nearly(BucketRecorder):
    """Changes every pixel by one level: what is left of an image after an identity model is all that it lost."""

    def __call__(self, images, strengths, prompts, seeds):
        super().__call__(images, strengths, prompts, seeds)
        return [image ^ 1 for image in images]


@pytest.mark.parametrize("size", [(1024, 1536), (1536, 1024), (2048, 2048), (300, 2000)])
@pytest.mark.parametrize("area", ["native", "image"])
def test_an_image_broken_all_over_comes_through_an_identity_model(size, area):
    """At infinitely many dB; 48 dB are the one level by which the second model changes each pixel."""
    image = photo("coffee", 1000).repeat(3, axis=0).repeat(3, axis=1)[: size[0], : size[1]]
    plane = np.ones(size, np.float32)
    (result,) = restore_defects(BucketRecorder(SDXL, crop_area=area), [image], [plane], [""], [0])
    assert np.array_equal(result, image)
    restorer = Nearly(SDXL, crop_area=area)
    (result,) = restore_defects(restorer, [image], [plane], [""], [0])
    scaled = any(crop.inner != (crop.window.height, crop.window.width) for crop in defect_crops(plane, restorer))
    assert psnr(result, image) > (38 if scaled else 48)
    if not scaled:
        assert np.array_equal(result, image ^ 1)  # tiles agree where they share pixels


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


def test_a_large_image_comes_in_tiles_that_fade_into_each_other():
    plane = np.ones((1024, 1536), np.float32)
    crops = defect_crops(plane, BucketRecorder(SDXL, crop_area="native"))
    assert [crop.size for crop in crops] == [(1024, 1024)] * 2
    assert [crop.window for crop in crops] == [Box(0, 0, 1024, 1024), Box(0, 512, 1024, 1536)]
    left, right = (crop.box for crop in crops)
    assert left.right - right.left == crops[1].seam[1] == 64
    image = np.zeros((1024, 1536, 3), np.uint8)

    class Halves(BucketRecorder):
        def __call__(self, images, strengths, prompts, seeds):
            return [np.full_like(one, 100 + 100 * i) for i, one in enumerate(images)]

    (result,) = restore_defects(Halves(SDXL, crop_area="native"), [image], [plane], [""], [0])
    row = result[0, :, 0].astype(int)
    assert (np.diff(row) >= 0).all()
    assert np.diff(row).max() <= 2  # no seam
    assert (row[0], row[-1]) == (100, 200)


@pytest.mark.parametrize(
    ("box", "size"),
    [
        (Box(500, 500, 600, 600), (1024, 1024)),
        (Box(500, 500, 600, 650), (832, 1216)),
        (Box(500, 100, 600, 340), (640, 1600)),
        (Box(0, 0, 1000, 1000), (1024, 1024)),
    ],
)
def test_a_defect_is_enlarged_to_the_size_that_shows_most_of_it(box, size):
    (crop,) = windows(box, 1500, 1500, SDXL, enlarge=True)
    assert crop.size == size
    assert crop.inner[0] * crop.inner[1] > 0.9 * size[0] * size[1]
    assert crop.window.union(box) == crop.window


def test_one_pixel_is_enlarged_no_more_than_eight_times():
    plane = np.zeros((1500, 1500), np.float32)
    plane[700, 700] = 1
    (crop,) = defect_crops(plane, BucketRecorder(SDXL, crop_area="native", context=0))
    assert (crop.window.height, crop.window.width) == (128, 128)
    image = noise_image((1500, 1500)) // 2
    (result,) = restore_defects(
        BucketRecorder(SDXL, crop_area="native", context=0, colour=255), [image], [plane], [""], [0]
    )
    assert (result != image).any(axis=-1).sum() == 1


@pytest.mark.parametrize("size", [(64, 64), (8, 8), (1, 1), (64, 2000), (1, 300)])
def test_tiny_and_long_images_are_enlarged_and_keep_their_size(size):
    image = noise_image(size) // 2
    restorer = BucketRecorder(SDXL, crop_area="native", colour=255)
    (result,) = restore_defects(restorer, [image], [np.ones(size, np.float32)], [""], [0])
    assert (result == 255).all()
    assert {one.shape[:2] for one in restorer.calls[0][0]} <= set(SDXL)


def test_zooming_in_costs_no_more_than_four_whole_passes():
    plane = np.zeros((1024, 1024), np.float32)
    for k, place in enumerate(range(50, 1000, 200)):
        plane[place, place] = 1
        crops = defect_crops(plane, BucketRecorder(SDXL, crop_area="native"))
        assert len(crops) == (k + 1 if k < 4 else 1)
    assert crops[0].window == Box(0, 0, 1024, 1024)


@pytest.mark.parametrize(
    ("how", "small", "most"),
    [("auto", "words", "p"), ("full", "p", "p"), ("words", "words", "words"), ("none", "", "")],
)
def test_what_shows_little_of_the_image_gets_the_words_alone(how, small, most):
    for area in ("native", "image"):
        for text, side in ((small, 20), (most, 300)):
            plane = np.zeros((300, 300), np.float32)
            plane[:side, :side] = 1
            restorer = BucketRecorder(((256, 256),), crop_prompt=how, crop_area=area)
            restore_defects(restorer, [noise_image((300, 300))], [plane], ["p"], [0], ["words"])
            if area == "native":
                assert set(restorer.calls[0][2]) == {text}
    restorer = Recorder()
    restore_defects(restorer, [noise_image((300, 300))], [plane], ["p"], [0], ["words"])
    assert restorer.calls[0][2] == ["p"]  # a backend that takes any size sees defects as they are


def test_at_the_images_resolution_a_bucket_is_shown_unscaled():
    (crop,) = windows(Box(100, 100, 150, 150), 512, 512, BUCKETS, enlarge=False)
    assert crop.size == (64, 64)
    assert (crop.window.height, crop.window.width) == (64, 64)


def test_a_window_at_the_border_stays_inside():
    (crop,) = windows(Box(0, 480, 40, 512), 512, 512, BUCKETS, enlarge=False)
    assert crop.window == Box(0, 448, 64, 512)


def test_a_long_box_takes_a_long_bucket_and_an_oversized_one_tiles_of_the_largest():
    (crop,) = windows(Box(0, 0, 50, 120), 512, 512, BUCKETS, enlarge=False)
    assert crop.size == (64, 128)
    crops = windows(Box(0, 0, 300, 300), 512, 512, BUCKETS, enlarge=False)
    assert {crop.size for crop in crops} == {(128, 128)}
    assert len(crops) == 9


def test_a_small_image_is_filled_up_to_a_bucket_and_keeps_its_size():
    image = noise_image((20, 30))
    restorer = BucketRecorder(colour=9)
    (result,) = restore_defects(restorer, [image], [np.ones((20, 30), np.float32)], [""], [0])
    assert restorer.calls[0][0][0].shape[:2] in BUCKETS
    assert (restorer.calls[0][1][0] > 0).sum() == 600  # what is filled up is not to be drawn
    assert result.shape == image.shape
    assert (result == 9).all()


def test_an_image_broken_all_over_is_done_whole():
    plane = np.zeros((128, 128), np.float32)
    plane[2:30, 2:30] = plane[2:30, 90:120] = plane[90:120, 2:30] = plane[90:120, 90:120] = 1
    (crop,) = defect_crops(plane, BucketRecorder(context=0))
    assert (crop.window, crop.size) == (Box(0, 0, 128, 128), (128, 128))


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


@given(st.integers(1, 9), st.integers(1, 30), st.sampled_from([2.0, 16.0, 100.0]))
def test_the_middle_of_a_region_that_is_narrower_than_the_seam_is_written_whole(narrow, long, feather):
    plane = np.zeros((60, 60), np.float32)
    plane[20 : 20 + narrow, 20 : 20 + long] = 0.5
    plane[40:, :] = 0.5  # a wide one beside it
    weight = paste_weight(plane, feather)
    assert weight[20 + narrow // 2, 20 + long // 2] == 1
    assert (weight[plane == 0] == 0).all()
    assert (weight[plane > 0] > 0).all()
    assert weight[40, 30] == pytest.approx(max(1 / feather, 2 / 20), abs=1e-6)


@pytest.mark.parametrize("feather", [0.0, 12.0])
def test_a_strength_of_one_everywhere_is_pasted_whole(feather):
    assert (paste_weight(np.ones((9, 9), np.float32), feather) == 1).all()


def test_an_image_of_64_megapixels_is_tiled_in_bounded_overlap():
    crops = windows(Box(0, 0, 8000, 8000), 8000, 8000, SDXL, enlarge=True)
    assert all(crop.inner == (crop.window.height, crop.window.width) == crop.size for crop in crops)
    assert sum(crop.size[0] * crop.size[1] for crop in crops) < 1.5 * 8000 * 8000
