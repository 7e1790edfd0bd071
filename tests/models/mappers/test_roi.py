import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qrefine.models.mappers.roi import average_weights, maximum_cells, roi_average_max

sides = st.tuples(st.integers(1, 200), st.sampled_from([1, 4, 8, 16]), st.integers(1, 24))


def reference(features, stride, size, n):
    """Patch by patch: every pixel of a patch takes its cell's value."""
    channels = features.shape[0]
    fine = 8  # pixels are cut into eighths, so that borders between them fall right for n of 1, 2, 4, 8
    pixels = features.repeat_interleave(stride * fine, 1).repeat_interleave(stride * fine, 2)
    pixels = pixels[:, : size[0] * fine, : size[1] * fine]
    out = np.empty((n, n, 2 * channels), np.float32)
    height, width = size[0] * fine // n, size[1] * fine // n
    for i in range(n):
        for j in range(n):
            patch = pixels[:, i * height : (i + 1) * height, j * width : (j + 1) * width]
            out[i, j] = torch.cat([patch.mean((1, 2)), patch.amax((1, 2))]).numpy()
    return out


@settings(deadline=None)
@given(sides)
def test_average_weights_share_out_each_patch(side):
    pixels, stride, n = side
    cells = -(-pixels // stride)
    weights = average_weights(pixels, stride, cells, n)
    assert weights.shape == (n, cells)
    torch.testing.assert_close(weights.sum(1), torch.ones(n))
    covered = torch.full((cells,), float(stride))
    covered[-1] = pixels - (cells - 1) * stride
    torch.testing.assert_close(weights.sum(0), covered * n / pixels, rtol=1e-4, atol=1e-5)


@settings(deadline=None)
@given(sides)
def test_maximum_cells_are_those_with_weight(side):
    pixels, stride, n = side
    cells = -(-pixels // stride)
    touched = maximum_cells(pixels, stride, cells, n)
    weights = average_weights(pixels, stride, cells, n)
    for row, weight in zip(touched.tolist(), weights.tolist(), strict=True):
        assert set(row) == {cell for cell, value in enumerate(weight) if value > 1e-6}


@settings(deadline=None, max_examples=25)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)), st.sampled_from([1, 2, 4, 8]), st.sampled_from([2, 8, 16])
)
def test_roi_agrees_with_patch_by_patch(size, n, stride):
    torch.manual_seed(0)
    cells = [-(-side // stride) for side in size]
    features = torch.randn(1, 3, *cells)
    pooled = roi_average_max(features, stride, size, n)[0]
    np.testing.assert_allclose(pooled.numpy(), reference(features[0], stride, size, n), atol=1e-5)


@pytest.mark.parametrize("n", [1, 3, 16, 40])
def test_padding_cells_count_for_nothing(n):
    features = torch.randn(2, 4, 3, 5)
    padded = torch.nn.functional.pad(features, (0, 2, 0, 3), value=1e6)
    torch.testing.assert_close(
        roi_average_max(padded, 16, (48, 80), n), roi_average_max(features, 16, (48, 80), n)
    )
