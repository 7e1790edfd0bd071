import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qrefine.models.mappers.embedded import EmbeddedMapper
from qrefine.models.mappers.embedded_net import (
    ARCHITECTURE,
    FAMILIES,
    MapperNet,
    band_energies,
    contrast_normalised,
    folded,
)
from qrefine.models.mappers.embedded_pass import patch_features, spans
from qrefine.models.weights import EMBEDDED, load_weights
from tests.support import photo
from training.degradations_cv2 import FAMILIES as CAUSES
from training.degradations_cv2 import degrade


@pytest.fixture(scope="module")
def mapper():
    return EmbeddedMapper()


@pytest.fixture(scope="module")
def net():
    """The shipped network as it runs, by itself."""
    made = MapperNet()
    load_weights(made, EMBEDDED / "mapper.safetensors", ARCHITECTURE)
    return folded(made)


def tensor(image):
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


@pytest.fixture(scope="module")
def scene():
    return photo("astronaut", 256)


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 80), st.integers(1, 80), st.integers(1, 20))
def test_any_size_and_grid(height, width, grid):
    quality = EmbeddedMapper(grid=grid)([noise(height, width)])[0]
    assert quality.n == grid


@pytest.mark.parametrize(
    ("shape", "n"), [((1024, 700), 16), ((64, 1024), 16), ((1025, 64), 22), ((3072, 40), 64), ((40, 3071), 64)]
)
def test_no_patch_has_a_side_above_64_pixels(shape, n):
    assert EmbeddedMapper(patch=64)([noise(*shape)])[0].n == n
    assert EmbeddedMapper()([noise(*shape)])[0].n == 16


@pytest.mark.parametrize("name", ["astronaut", "coffee", "chelsea"])
def test_a_small_defect_on_the_corner_of_four_patches_of_64_is_found(name):
    """48 px of noise in a large image: it fills a seventh of each of these, and a quarter of one of 48 px."""
    image = np.pad(photo(name, 300), ((0, 1236), (0, 1236), (0, 0)), "symmetric")
    corner = np.s_[640 - 24 : 640 + 24, 832 - 24 : 832 + 24]
    damaged, rng = image.copy(), np.random.default_rng(0)
    damaged[corner] = (image[corner] + rng.normal(0, 40, (48, 48, 3))).round().clip(0, 255)
    before, after = (EmbeddedMapper(patch=64)([of])[0].values for of in (image, damaged))
    n = len(after)
    rows, columns = (slice(int(at * n / 1536), int((at + 47) * n / 1536) + 1) for at in (616, 808))
    assert before[rows, columns].min() > 0.8
    assert after[rows, columns].min() < 0.7


def test_up_to_1024_pixels_the_map_is_that_of_the_grid(mapper):
    image = noise(1024, 100)
    assert EmbeddedMapper(patch=64)([image]) == mapper([image])


@pytest.mark.parametrize("shape", [(17, 5), (1, 40), (100, 203)])
def test_the_pass_in_place_is_the_networks_own_to_the_bit(net, shape):
    image = noise(*shape)
    with torch.inference_mode():
        expected = net.patches(tensor(image), 5)
    assert torch.equal(patch_features(net, image, 5, torch.device("cpu")), expected)


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 3))
def test_cells_cut_from_bytes_change_no_bit_on_any_size(net, height, width, turns):
    image = np.rot90(noise(height, width), turns)  # also of arrays that are not contiguous
    with torch.inference_mode():
        expected = net.patches(tensor(image.copy()), 3)
    assert torch.equal(patch_features(net, image, 3, torch.device("cpu")), expected)


def test_tiles_are_the_whole_image(net):
    image = noise(1500, 2600) // 2
    image[400:1100, 700:1900] = photo("astronaut", 64)[10, 10]  # flat, where the bands' logarithms are steep
    image[1000:1100, 1000:1300] = noise(100, 300)
    with torch.inference_mode():
        expected = net.patches(tensor(image), 41)
        logits = net.head(expected), net.head(patch_features(net, image, 41, torch.device("cpu"), tile=640))
    torch.testing.assert_close(torch.sigmoid(logits[0]), torch.sigmoid(logits[1]), atol=1e-5, rtol=0)


@given(st.integers(1, 10_000), st.integers(1, 40))
def test_tiles_cover_an_axis_and_see_beyond_it(length, units):
    found = list(spans(length, units * 64))
    assert [span.start for span in found] == [0, *(span.stop for span in found[:-1])]
    assert found[-1].stop == length
    for span in found:
        assert span.stop - span.start <= units * 64
        assert span.start % 64 == span.first % 16 == 0
        assert 0 <= span.first <= span.start
        assert span.stop <= span.last <= length


@pytest.mark.parametrize("shape", [(1, 1), (8, 4096), (4096, 8), (17, 500)])
def test_awkward_shapes(mapper, shape):
    assert 0 <= mapper([noise(*shape)])[0].score <= 1


def test_a_batch_changes_no_bit(mapper):
    rng = np.random.default_rng(0)
    images = [noise(*(int(v) for v in rng.integers(1, 200, 2)), seed=i) for i in range(16)]
    together = mapper(images)
    for image, quality in zip(images, together, strict=True):
        assert mapper([image])[0] == quality
    assert mapper(images[::-1]) == together[::-1]


def test_the_threads_change_no_bit(mapper):
    image, threads = noise(200, 300), torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = mapper([image])[0]
    finally:
        torch.set_num_threads(threads)
    np.testing.assert_allclose(mapper([image])[0].values, alone.values, atol=1e-5)


def test_inputs_are_left_alone_and_may_be_read_only(mapper):
    image = noise(40, 40)
    kept = image.copy()
    image.setflags(write=False)
    mapper([image])
    assert np.array_equal(image, kept)


@pytest.mark.parametrize("kind", ["gaussian_blur", "gaussian_noise", "jpeg", "downsample", "salt_and_pepper"])
def test_damage_lowers_quality_where_it_is(mapper, scene, kind):
    damaged = scene.copy()
    damaged[:, :128] = degrade(scene, kind, 0.8, np.random.default_rng(0))[:, :128]
    values = mapper([damaged])[0].values
    assert values[:, :7].mean() < values[:, 9:].mean() - 0.3
    assert mapper([scene])[0].score > mapper([damaged])[0].score


def test_a_grid_of_one_is_about_the_mean_of_sixteen(mapper, scene):
    one = EmbeddedMapper(grid=1)([scene])[0].score
    assert one == pytest.approx(mapper([scene])[0].score, abs=0.15)


def test_an_empty_batch(mapper):
    assert mapper([]) == []


def test_a_grid_of_none_is_refused():
    with pytest.raises(ValueError, match="at least one patch"):
        EmbeddedMapper(grid=0)


def test_the_network_answers_for_all_and_for_each_family():
    assert MapperNet()(torch.rand(2, 3, 40, 56), 5).shape == (2, 5, 5, 1 + len(FAMILIES))
    assert set(FAMILIES) == set(CAUSES)


def test_the_head_sees_each_patch_beside_the_mean_alone(net):
    patches = torch.rand(1, 6, 6, net.head.own.in_features)
    order = torch.randperm(36)
    shuffled = patches.flatten(1, 2)[:, order].view_as(patches)
    expected = net.head(patches).flatten(1, 2)[:, order]
    torch.testing.assert_close(net.head(shuffled).flatten(1, 2), expected)
    assert not torch.allclose(net.head(patches[:, :3]), net.head(patches)[:, :3])


def test_contrast_is_taken_out():
    cells = torch.rand(1, 12, 16, 16) * 0.5
    normal = contrast_normalised(cells)
    halved = contrast_normalised(cells * 0.5 + 0.2)
    # the constants that guard flat areas keep it from being exact
    assert torch.corrcoef(torch.stack([normal[:, :12].flatten(), halved[:, :12].flatten()]))[0, 1] > 0.99
    assert (halved[:, 12] < normal[:, 12]).all()


def test_bands_see_scale_and_direction():
    y = torch.arange(64).view(1, 1, 64, 1).expand(1, 3, 64, 64)
    for period, group in ((2, 0), (4, 9), (8, 12)):  # luma between pixels, 2 x 2, 4 x 4
        stripes = (y // (period // 2) % 2).float()
        energies = band_energies(torch.nn.functional.pixel_unshuffle(stripes, 2)).mean((0, 2, 3))
        bands = energies[[0, 1, 2, 9, 10, 11, 12, 13, 14]]
        assert energies[group + 1] == bands.max(), period  # horizontal stripes: the vertical difference
