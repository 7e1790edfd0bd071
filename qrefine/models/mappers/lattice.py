"""Periods of a picture's roughness: what codecs, resampling and transposed convolutions leave behind.

A grid is too weak to be seen between neighbouring pixels and repeats too far apart for small convolutions. But the
mean magnitude of differences along many rows shows it: pixels at block borders are rougher, interpolated ones
smoother than those between them (Fan and de Queiroz, "Identification of bitmap compression history", 2003;
Gallagher, "Detection of linear and cubic interpolation in JPEG compressed images", 2005).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

CELL = 16
"""Pixels along a side of a cell of the result."""

WINDOW, BANDS = 64, 5
"""Pixels of a profile, and cells across it over which magnitudes are averaged."""

HARMONICS = (8, 16, 24, 32)
"""Frequencies, in periods of a window, of what repeats every 8, 4 and 2 pixels."""

OTHERS = tuple(k for k in range(7, WINDOW // 2) if k % 8 not in (0, 1, 7))
"""Frequencies of resampling by any other factor."""

ORDERS = 2
"""Differences of the first order show blocks, those of the second interpolation."""

CHANNELS = ORDERS * 2 * (len(HARMONICS) + 1)

_FLAT = 0.05  # grey levels: what is smoother has no period
_FLOOR = 1e-4
_SCALE = 0.3  # of the logarithms, to about the size of other features


def lattice(luma: Tensor) -> Tensor:
    """Grey levels (b, 1, h, w), sides multiples of 16 -> (b, CHANNELS, h / 16, w / 16).

    For each order of differences: log powers over the mean of ``OTHERS`` at each of ``HARMONICS`` and at the
    greatest of ``OTHERS``; of each the lesser and the greater of the two axes.
    """
    found = list[Tensor]()
    across, down = luma, luma.transpose(2, 3).contiguous()
    for _ in range(ORDERS):
        across, down = across.diff(dim=3), down.diff(dim=3)
        both = _powers(across), _powers(down).transpose(2, 3)
        for of in (torch.minimum(*both), torch.maximum(*both)):
            found += [of[:, HARMONICS], of[:, OTHERS].amax(1, keepdim=True)]
    return torch.cat(found, 1) * _SCALE


def _powers(differences: Tensor) -> Tensor:
    """Log power of profiles along x by frequency, over the others' mean: (b, WINDOW / 2 + 1, h / 16, w / 16)."""
    rough = differences.abs().unflatten(2, (-1, CELL)).mean(3)  # pooling is ten times as slow
    rows, missing = rough.shape[2], -rough.shape[3] % CELL
    around, beside = BANDS // 2, (WINDOW - CELL) // 2
    rough = F.pad(rough, (beside, beside + missing, around, around), mode="replicate")
    rough = torch.stack([rough[:, 0, row : row + rows] for row in range(BANDS)]).mean(0).unfold(2, WINDOW, CELL)
    rough = rough / (rough.mean(-1, keepdim=True) + _FLAT)
    rough = (rough - rough.mean(-1, keepdim=True)) * (torch.hann_window(WINDOW, device=rough.device) / _FLOOR**0.5)
    waves = torch.fft.rfft(rough)
    powers = (waves.real.square() + waves.imag.square() + 1).log()  # over the floor: exactly 0 of what is flat
    return (powers - powers[..., OTHERS].mean(-1, keepdim=True)).permute(0, 3, 1, 2)
