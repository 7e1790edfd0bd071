import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qrefine.models.restorers.kernels import SIDE, SIZES, Kernel, coarse, near

sizes = st.sampled_from(list(SIZES)).flatmap(
    lambda shape: st.builds(
        Kernel, st.just(shape), st.floats(*SIZES[shape]), st.floats(0, 3.1) if shape == "line" else st.just(0.0)
    )
)


@given(sizes)
def test_a_kernel_spreads_a_point_and_keeps_its_light_and_its_place(kernel):
    pixels = kernel.pixels()
    place = np.arange(SIDE) - SIDE // 2
    assert pixels.shape == (SIDE, SIDE)
    assert pixels.min() >= 0
    assert pixels.sum() == pytest.approx(1, abs=1e-5)
    assert abs((pixels.sum(1) * place).sum()) < 1e-4
    assert abs((pixels.sum(0) * place).sum()) < 1e-4


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        (Kernel("gaussian", 2.0), 2.0),
        (Kernel("disc", 4.0), 4.0 / 2),  # a disc's deviation along an axis is half its radius
        (Kernel("line", 12.0), 12.0 / math.sqrt(12)),
    ],
)
def test_the_size_is_that_of_the_shape(kernel, expected):
    along = kernel.pixels().sum(0)
    place = np.arange(SIDE) - SIDE // 2
    assert math.sqrt(float((along * place**2).sum())) == pytest.approx(expected, rel=0.06)


def test_the_angle_runs_from_x_to_y():
    assert np.count_nonzero(Kernel("line", 9, 0.0).pixels().sum(1) > 0.01) == 1
    assert np.count_nonzero(Kernel("line", 9, math.pi / 2).pixels().sum(0) > 0.01) == 1
    down = Kernel("line", 9, math.pi / 4).pixels()
    assert down[SIDE // 2 + 2, SIDE // 2 + 2] > 10 * down[SIDE // 2 + 2, SIDE // 2 - 2]


def test_the_transfer_function_is_that_of_the_pixels():
    kernel = Kernel("line", 7, 0.6)
    transfer = kernel.transfer(64, 80)
    assert transfer.shape == (64, 41)
    assert transfer[0, 0] == pytest.approx(1, abs=1e-5)
    assert np.abs(transfer.imag).max() < 1e-3  # symmetric about the middle
    point = np.zeros((64, 80))
    point[30, 40] = 1
    spread = np.fft.irfft2(np.fft.rfft2(point) * transfer, (64, 80))
    reach = SIDE // 2
    assert np.allclose(spread[30 - reach : 31 + reach, 40 - reach : 41 + reach], kernel.pixels(), atol=1e-6)


def test_some_kernel_of_the_dictionary_lies_near_any():
    found = coarse()
    assert len({(kernel.shape, kernel.size, kernel.angle) for kernel in found}) == len(found)
    for shape, (low, high) in SIZES.items():
        of = sorted({kernel.size for kernel in found if kernel.shape == shape})
        assert low <= of[0] <= low * 1.3
        assert high / 1.3 <= of[-1] <= high
        assert max(b / a for a, b in pairwise(of)) < 1.3


@given(sizes, st.sampled_from([0.12, 0.06, 0.03]))
def test_kernels_nearby_stay_within_the_sizes(kernel, step):
    found = near(kernel, step)
    low, high = SIZES[kernel.shape]
    assert found
    assert all(low <= other.size <= high and other.shape == kernel.shape for other in found)
    assert all(abs(math.log(other.size / kernel.size)) <= math.log(1 + step) + 1e-9 for other in found)
