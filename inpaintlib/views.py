"""Random views of images: flipped, turned, scaled and shifted copies, differentiable in the image.

The training of the attribute and CLIP networks shows them each face in another view; an objective that is
averaged over views is harder to please by noise that no face has.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .checks import InpaintError, check_integer, check_number

__all__ = ["draw", "random_views", "warp"]

#: Of one view: flip, angle, logarithm of the scale, shift in x and in y; each uniform in (-1, 1).
PARAMETERS = 5


def warp(x: Tensor, draws: Tensor, *, angle: float = 0.15, scale: float = 0.1, shift: float = 0.06) -> Tensor:
    """Returns one view of each image, (N, 3, H, W); beyond the border the image is reflected.

    Args:
        x: (N, 3, H, W).
        draws: (N, 5) in (-1, 1): a positive first number flips left and right; the others choose the angle, the
            scale and the shifts within their limits.
        angle: largest turn, radians.
        scale: largest change of size, as a logarithm.
        shift: largest shift, as a fraction of the image's side.

    Example:
        >>> x = torch.arange(4.0).expand(1, 3, 4, 4)
        >>> warp(x, torch.tensor([[1.0, 0.0, 0.0, 0.0, 0.0]]))[0, 0, 0].tolist()
        [3.0, 2.0, 1.0, 0.0]
    """
    d = draws.to(x)
    flip = torch.where(d[:, 0] > 0, -1.0, 1.0).to(x)
    a, s = d[:, 1] * angle, torch.exp(d[:, 2] * scale)
    cos, sin, dx, dy = torch.cos(a) * s, torch.sin(a) * s, 2 * shift * d[:, 3], 2 * shift * d[:, 4]
    matrix = torch.stack([torch.stack([flip * cos, -sin, dx], -1), torch.stack([flip * sin, cos, dy], -1)], dim=1)
    grid = F.affine_grid(matrix, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def draw(n: int, generator: torch.Generator) -> Tensor:
    """Returns the draws of ``n`` views, (n, 5), for :func:`warp`; from ``generator``, on its device."""
    return 2.0 * torch.rand(n, PARAMETERS, generator=generator, device=generator.device) - 1.0


def random_views(x: Tensor, count: int, generators: Sequence[torch.Generator], *, strength: float = 1.0) -> Tensor:
    """Returns ``count`` views of every image, (N * count, 3, H, W); those of an image stand together.

    Args:
        x: (N, 3, H, W).
        count: at least 1.
        generators: one an item, on the CPU; item i's views depend on its own generator alone.
        strength: of angle, scale and shift, relative to :func:`warp`'s defaults.

    Raises:
        InpaintError: if ``count`` or ``strength`` is out of range, or there are not as many generators as images.
    """
    check_integer("views", count, low=1)
    if len(generators) != len(x):
        raise InpaintError(f"generators must be one for each of the {len(x)} images; got {len(generators)}")
    check_number("strength", strength, low=0.0)
    draws = torch.cat([draw(count, g) for g in generators])
    limits = {"angle": 0.15 * strength, "scale": 0.1 * strength, "shift": 0.06 * strength}
    return warp(x.repeat_interleave(count, dim=0), draws, **limits)
