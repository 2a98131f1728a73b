"""Adaptive discriminator augmentation (Karras et al. 2020, "Training GANs with limited data").

The pipeline is the paper's 'bgc' set: pixel blitting (flip, quarter turns, whole-pixel shifts), general
geometry (scale, rotation, anisotropic scale, fractional shift) and colour (brightness, contrast, luma
flip, hue, saturation), each applied with probability p per image, all differentiable once. Geometry is
one affine resampling at twice the resolution with reflected borders, so that it does not alias.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["AdaController", "augment"]

# Low-pass filter of the symlet-6 wavelet (Daubechies 1992, table 8.3). It is orthonormal to its even
# shifts, so halving after doubling is the identity: an image that is not warped is not blurred either.
SYM6 = (
    0.015404109327027373, 0.0034907120842174702, -0.11799011114819057, -0.048311742585633,
    0.4910559419267466, 0.787641141030194, 0.3379294217276218, -0.07263752278646252,
    -0.021060292512300564, 0.04472490177066578, 0.0017677118642428036, -0.007800708325034148,
)  # fmt: skip


def augment(x: Tensor, p: float, generator: torch.Generator) -> Tensor:
    """Returns augmented images, same shape, each transformation applied with probability ``p`` per image.

    Args:
        x: (N, 3, H, W) in [-1, 1], H = W, float32.
        p: in [0, 1]; 0 returns ``x`` itself.
        generator: on ``x``'s device; the source of every draw.
    """
    if p <= 0.0:
        return x
    draw = _Draws(x.shape[0], p, generator, x.device)
    return _colour(_geometry(x, draw), draw)


class _Draws:
    """Per-image random parameters, replaced by their neutral value with probability 1 - p."""

    def __init__(self, n: int, p: float, generator: torch.Generator, device: torch.device):
        self.n, self.p, self.g, self.device = n, p, generator, device

    def _gate(self, value: Tensor, neutral: float, p: float | None = None) -> Tensor:
        on = torch.rand(self.n, generator=self.g, device=self.device) < (self.p if p is None else p)
        return torch.where(on, value, torch.full_like(value, neutral))

    def uniform(self, low: float, high: float, neutral: float, p: float | None = None) -> Tensor:
        u = torch.rand(self.n, generator=self.g, device=self.device)
        return self._gate(low + (high - low) * u, neutral, p)

    def normal(self, std: float) -> Tensor:
        return self._gate(std * torch.randn(self.n, generator=self.g, device=self.device), 0.0)

    def lognormal(self, std: float) -> Tensor:
        return torch.exp2(self.normal(std))

    def integer(self, count: int) -> Tensor:
        k = torch.randint(count, (self.n,), generator=self.g, device=self.device).float()
        return self._gate(k, 0.0)


def _matrices(rows: list[list[Tensor | float]], like: Tensor) -> Tensor:
    full = [[v if isinstance(v, Tensor) else torch.full_like(like, float(v)) for v in row] for row in rows]
    return torch.stack([torch.stack(row, dim=-1) for row in full], dim=-2)


def _rotation(angle: Tensor) -> Tensor:
    c, s = torch.cos(angle), torch.sin(angle)
    return _matrices([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]], angle)


def _scale(sx: Tensor, sy: Tensor) -> Tensor:
    return _matrices([[sx, 0.0, 0.0], [0.0, sy, 0.0], [0.0, 0.0, 1.0]], sx)


def _shift(tx: Tensor, ty: Tensor) -> Tensor:
    return _matrices([[1.0, 0.0, tx], [0.0, 1.0, ty], [0.0, 0.0, 1.0]], tx)


def _geometry(x: Tensor, draw: _Draws) -> Tensor:
    # The order and the strengths are the paper's (appendix B); coordinates run from -1 to 1.
    size = x.shape[-1]
    one = torch.ones(x.shape[0], device=x.device)
    whole = lambda: (draw.uniform(-0.125, 0.125, 0.0) * size).round() * 2 / size  # noqa: E731
    m = _scale(1.0 - 2.0 * draw.integer(2), one)
    m = _rotation(draw.integer(4) * (math.pi / 2)) @ m
    m = _shift(whole(), whole()) @ m
    s = draw.lognormal(0.2)
    m = _scale(s, s) @ m
    # Two rotations, before and after the anisotropic scale, that together occur with probability p.
    p_rot = 1.0 - math.sqrt(1.0 - draw.p)
    m = _rotation(draw.uniform(-math.pi, math.pi, 0.0, p_rot)) @ m
    s = draw.lognormal(0.2)
    m = _scale(s, 1.0 / s) @ m
    m = _rotation(draw.uniform(-math.pi, math.pi, 0.0, p_rot)) @ m
    m = _shift(draw.normal(0.25), draw.normal(0.25)) @ m
    # The filter's peak falls on a pixel: doubled, the picture's centre lies half a pixel before the grid's.
    centre = one * (-0.5 / size)
    m = _shift(centre, centre) @ m @ _shift(-centre, -centre)
    # Reflect-pad, double the resolution, warp with a margin for the filter's tails, halve again.
    pad, margin = size // 2, len(SYM6) // 2 - 1
    taps = torch.tensor(SYM6, device=x.device)
    kernel = torch.outer(taps, taps).expand(x.shape[1], 1, -1, -1)
    big = F.conv_transpose2d(F.pad(x, (pad,) * 4, mode="reflect"), kernel, stride=2, groups=x.shape[1])
    big = big[:, :, margin : margin + 4 * size, margin : margin + 4 * size]
    wide = 2 * size + 2 * margin
    base = F.affine_grid(torch.eye(3, device=x.device)[None, :2], [1, 1, wide, wide], align_corners=False)
    points = F.pad(base.flatten(1, 2) * (wide / (2 * size)), (0, 1), value=1.0)  # (1, wide^2, 3)
    grid = (points @ torch.linalg.inv_ex(m).inverse[:, :2].transpose(1, 2)).unflatten(1, (wide, wide)) / 2
    warped = F.grid_sample(big, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return F.conv2d(warped, kernel, stride=2, groups=x.shape[1])


def _colour(x: Tensor, draw: _Draws) -> Tensor:
    # A 4x4 colour matrix for each image, acting on (r, g, b, 1).
    n = x.shape[0]
    eye = torch.eye(4, device=x.device)
    v = torch.tensor([1.0, 1.0, 1.0, 0.0], device=x.device) / math.sqrt(3.0)  # the luma axis
    axis = torch.outer(v, v)
    b = draw.normal(0.2)
    c = eye.expand(n, 4, 4).clone()
    c[:, :3, 3] = b[:, None]
    s = draw.lognormal(0.5)
    c = torch.diag_embed(torch.stack([s, s, s, torch.ones_like(s)], dim=-1)) @ c
    flip = draw.integer(2)
    c = (eye - 2.0 * axis * flip[:, None, None]) @ c
    c = _hue(draw.uniform(-math.pi, math.pi, 0.0), v) @ c
    s = draw.lognormal(1.0)[:, None, None]
    c = (axis + (eye - axis) * s) @ c
    flat = c[:, :3, :3] @ x.flatten(2) + c[:, :3, 3:]
    return flat.unflatten(2, x.shape[2:])


def _hue(angle: Tensor, v: Tensor) -> Tensor:
    """Rotation about the luma axis (Rodrigues), as (N, 4, 4)."""
    zero = torch.zeros((), device=v.device)
    x, y, z = v[0], v[1], v[2]
    cross = torch.stack([torch.stack([zero, -z, y]), torch.stack([z, zero, -x]), torch.stack([-y, x, zero])])
    c, s = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None]
    r3 = c * torch.eye(3, device=v.device) + s * cross + (1 - c) * torch.outer(v[:3], v[:3])
    r = torch.eye(4, device=v.device).repeat(len(angle), 1, 1)
    r[:, :3, :3] = r3
    return r


class AdaController:
    """Holds p so that ``r_t = E[sign(D(real))]`` stays near ``target`` (Karras et al. 2020, section 3.1).

    p moves by at most 1 in ``ramp_images`` shown images, in the direction of ``r_t - target``.
    """

    def __init__(self, *, target: float = 0.6, ramp_images: int = 500_000, p: float = 0.0):
        self.target, self.ramp_images, self.p = target, ramp_images, p

    def update(self, r_t: float, images: int) -> float:
        """Moves p after ``images`` images whose mean sign was ``r_t``, and returns it."""
        step = math.copysign(images / self.ramp_images, r_t - self.target)
        self.p = min(max(self.p + step, 0.0), 1.0)
        return self.p
