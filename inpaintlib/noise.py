"""The generator's noise maps as variables of the search: a penalty and a step that keep them noise.

Without them the maps would take in the picture. Source: Karras et al. 2020, "Analyzing and improving the image
quality of StyleGAN", appendix D.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["noise_penalty", "standardise"]

COARSEST = 8  # pixels


def noise_penalty(maps: Sequence[Tensor]) -> Tensor:
    """Returns each item's penalty on correlated neighbours, (N,), at least 0.

    .. math:: \\sum_{i,j} \\mathrm{mean}(n_{i,j} \\cdot \\mathrm{roll}_x n_{i,j})^2
              + \\mathrm{mean}(n_{i,j} \\cdot \\mathrm{roll}_y n_{i,j})^2

    over maps i and their pyramids j: means of 2 x 2 pixels, doubled so that white noise keeps its unit variance, down
    to 8 x 8. Smaller maps stand for themselves.

    Args:
        maps: one (N, 1, H, W) a layer.
    """
    total = maps[0].new_zeros(len(maps[0]))
    for level in maps:
        while True:
            for axis in (2, 3):
                total = total + (level * level.roll(1, axis)).mean(dim=(1, 2, 3)).square()
            if level.shape[2] <= COARSEST:
                break
            level = 2.0 * F.avg_pool2d(level, 2)
    return total


@torch.no_grad()
def standardise(maps: Sequence[Tensor]) -> None:
    """Gives every item's every map zero mean and unit variance, in place."""
    for m in maps:
        m -= m.mean(dim=(1, 2, 3), keepdim=True)
        m *= m.square().mean(dim=(1, 2, 3), keepdim=True).clamp_min(1e-12).rsqrt()
