"""Frozen feature networks, and LPIPS on top of them.

LPIPS (Zhang et al. 2018, eq. 1): features of several layers, each pixel's vector scaled to unit length,

    d_l(a, b) = sum_c v_lc (f_lc(a) - f_lc(b))^2        a map of distances, (N, 1, H_l, W_l)
    LPIPS(a, b) = sum_l mean_pixels d_l

``v`` are weights that Zhang et al. fitted to human judgements. Two kinds of networks serve here:

* ``percept-guide`` and ``percept-judge``, trained and shipped by this project: small, of different
  architectures, trained on disjoint images. They have no human calibration: ``v = 1`` everywhere.
  The guide is for objectives, the judge for tables, so that nothing is judged by what it optimised.
* ``lpips-alex``, ``lpips-vgg`` and ``lpips-squeeze``: the ``lpips`` package's networks with its ``v``,
  if their weights are on the machine or can be downloaded.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .checks import InpaintError, check_choice
from .weights import build, like, load_weights

__all__ = ["Percept", "PlainBackbone", "ResidualBackbone", "lpips", "load_percept"]

LPIPS_NETWORKS = ("lpips-alex", "lpips-vgg", "lpips-squeeze")


class PlainBackbone(nn.Module):
    """The guide's body: 3x3 convolutions and ReLU, with 2x2 max-pooling between stages."""

    def __init__(self, widths: Sequence[int] = (32, 64, 96, 128), depths: Sequence[int] = (1, 1, 2, 2)):
        super().__init__()
        self.config = {"widths": list(widths), "depths": list(depths)}
        self.stages = nn.ModuleList()
        fan_in = 3
        for width, depth in zip(widths, depths, strict=True):
            fans = [fan_in] + [width] * (depth - 1)
            self.stages.append(nn.ModuleList(nn.Conv2d(f, width, 3, padding=1) for f in fans))
            fan_in = width

    def forward(self, x: Tensor) -> list[Tensor]:
        """Returns one feature map a stage, (N, widths[i], H / 2^i, W / 2^i), for x (N, 3, H, W) in [-1, 1]."""
        taps = []
        for i, stage in enumerate(self.stages):
            x = F.max_pool2d(x, 2) if i else x
            for conv in stage:
                x = F.relu(conv(x))
            taps.append(x)
        return taps


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a 1x1 shortcut, both branches halving the resolution."""

    def __init__(self, fan_in: int, fan_out: int):
        super().__init__()
        self.conv0 = nn.Conv2d(fan_in, fan_out, 3, stride=2, padding=1)
        self.conv1 = nn.Conv2d(fan_out, fan_out, 3, padding=1)
        self.shortcut = nn.Conv2d(fan_in, fan_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.conv1(F.silu(self.conv0(x))) + self.shortcut(F.avg_pool2d(x, 2)))


class ResidualBackbone(nn.Module):
    """The judge's body: a residual network with strided convolutions and SiLU."""

    def __init__(self, widths: Sequence[int] = (24, 48, 96, 160)):
        super().__init__()
        self.config = {"widths": list(widths)}
        self.stem = nn.Conv2d(3, widths[0], 3, padding=1)
        self.blocks = nn.ModuleList(ResidualBlock(a, b) for a, b in zip(widths, widths[1:], strict=False))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Returns one feature map a stage, (N, widths[i], H / 2^i, W / 2^i), for x (N, 3, H, W) in [-1, 1]."""
        taps = [F.silu(self.stem(x))]
        for block in self.blocks:
            taps.append(block(taps[-1]))
        return taps


SHIPPED = {"percept-guide": PlainBackbone, "percept-judge": ResidualBackbone}
MOST_PX = 256  # the largest side that a network is shown; Karras et al. 2020's projector does so too


class Shrunk(nn.Module):
    """A network that sees images of at most :data:`MOST_PX` a side; larger ones are averaged over squares of pixels."""

    def __init__(self, body: nn.Module):
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> list[Tensor]:
        """Returns the network's maps of ``x``, (N, 3, H, W) in [-1, 1]."""
        k = -(-max(x.shape[2:]) // MOST_PX)
        # Squares that reach beyond the border are averaged over what is there.
        return self.body(x if k == 1 else F.avg_pool2d(x, k, ceil_mode=True, count_include_pad=False))


class Percept:
    """A frozen feature network with LPIPS's layer weights.

    It sees large images at 256 px at most (:class:`Shrunk`): the networks know no larger ones, and at 1024 px their
    features would take most of a search's memory.

    Attributes:
        name: where it came from; stands wherever its numbers stand.
        taps: a frozen module from images (N, 3, H, W) in [-1, 1] to feature maps, one (N, C_l, H_l, W_l) a layer.
        layer_weights: v, one (1, C_l, 1, 1) a layer; None = 1, not fitted to human judgements.
    """

    def __init__(self, name: str, taps: nn.Module, *, layer_weights: Sequence[Tensor] | None = None):
        self.name, self.layer_weights = name, layer_weights
        self.taps = taps if isinstance(taps, Shrunk) else Shrunk(taps)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.taps.parameters(), torch.empty(0)).device

    def like(self, x: Tensor) -> Percept:
        """Returns the network on ``x``'s device and of its float type: itself if it is there already."""
        taps = like(self.taps, x)
        if taps is self.taps:
            return self
        weights = self.layer_weights and [v.to(x) for v in self.layer_weights]
        return Percept(self.name, taps, layer_weights=weights)

    def pooled(self, x: Tensor) -> Tensor:
        """Returns the deepest layer averaged over pixels, (N, C): the features of KID and Fréchet distances."""
        return self.taps(x)[-1].mean(dim=(2, 3))

    def distances(self, a: Sequence[Tensor], b: Sequence[Tensor]) -> list[Tensor]:
        """Returns d_l, one (N, 1, H_l, W_l) a layer, of two lists of taps."""
        weights = self.layer_weights or [None] * len(a)
        a, b = ([f.to(torch.promote_types(f.dtype, torch.float32)) for f in taps] for taps in (a, b))  # after autocast
        return [_Distance.apply(f, g, v) for f, g, v in zip(a, b, weights, strict=True)]


class _Distance(torch.autograd.Function):
    """``sum_c v_c (f_c / |f| - g_c / |g|)^2`` for every pixel, (N, 1, H, W).

    Expanded, it needs three sums over channels, with r = 1 / |f| and q = 1 / |g|:

        d = r^2 sum v f^2 + q^2 sum v g^2 - 2 r q sum v f g

    and its gradient in f is a multiple of f plus a multiple of g. The features themselves, the largest
    tensors of a search, are read and never copied; written with autograd the search is a quarter slower.
    The products are taken in one order, so that equal features have a distance of exactly 0. In float32
    a value is exact to about 1e-7, which shows only between images that are almost equal.
    """

    # Keeps the gradient at a zero vector finite, where a division by the norm would give NaN.
    EPSILON = 1e-12

    @staticmethod
    def forward(ctx, f: Tensor, g: Tensor, v: Tensor | None) -> Tensor:
        dot = lambda x, y: (x * y).sum(dim=1, keepdim=True)  # noqa: E731
        ff, gg = dot(f, f), dot(g, g)
        r, q = torch.rsqrt(ff + _Distance.EPSILON), torch.rsqrt(gg + _Distance.EPSILON)
        if v is not None:
            ff, gg = dot(f * v, f), dot(g * v, g)
        fg = dot(f if v is None else f * v, g)
        ctx.save_for_backward(f, g, v, r, q, ff, gg, fg)
        return (ff * r * r + gg * q * q - 2.0 * (fg * r * q)).clamp_min(0.0)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        f, g, v, r, q, ff, gg, fg = ctx.saved_tensors

        def side(x: Tensor, y: Tensor, xx: Tensor, r: Tensor, q: Tensor) -> Tensor:
            # d/dx of d, from dr/dx = -r^3 x.
            h = 2.0 * grad * r
            own, other, shrink = h * r, -h * q, h * r * r * (fg * q - xx * r)
            if v is None:
                return torch.addcmul(x * (own + shrink), y, other)
            return x * (own * v + shrink) + y * (other * v)

        return (
            side(f, g, ff, r, q) if ctx.needs_input_grad[0] else None,
            side(g, f, gg, q, r) if ctx.needs_input_grad[1] else None,
            None,
        )


def layer_masks(weight: Tensor, sizes: Sequence[Sequence[int]]) -> list[Tensor]:
    """Returns ``weight`` (N, 1, H, W) averaged down to each size (H_l, W_l) by area and scaled to sum 1 an item.

    A layer where an item's weight vanishes gets zeros: it is skipped.
    """
    out = []
    for size in sizes:
        w = F.adaptive_avg_pool2d(weight, tuple(size))
        total = w.sum(dim=(1, 2, 3), keepdim=True)
        out.append(torch.where(total > 0, w / total.clamp_min(torch.finfo(w.dtype).tiny), 0.0))
    return out


def weighted_sum(maps: Sequence[Tensor], weights: Sequence[Tensor] | None) -> Tensor:
    """Returns ``sum_l sum_pixels weights_l d_l``, (N,); weights None = the mean over pixels."""
    if weights is None:
        return torch.stack([d.mean(dim=(1, 2, 3)) for d in maps]).sum(dim=0)
    return torch.stack([(d * w).sum(dim=(1, 2, 3)) for d, w in zip(maps, weights, strict=True)]).sum(dim=0)


def lpips(percept: Percept, a: Tensor, b: Tensor, weight: Tensor | None = None) -> Tensor:
    """Returns LPIPS between images, one value per image.

    Source: Zhang et al. 2018, eq. 1; the regional form is this project's.

    Args:
        percept: the network.
        a, b: (N, 3, H, W) in [-1, 1]; they may be elsewhere than the network.
        weight: (N or 1, 1, H, W) >= 0, which pixels count; each layer's distances are averaged with the
            area-downsampled weight. None = all alike.

    Returns:
        (N,), at least 0, on ``a``'s device.
    """
    there = percept.device
    maps = percept.distances(percept.taps(a.to(there)), percept.taps(b.to(there)))
    weights = None if weight is None else layer_masks(weight.to(there), [d.shape[2:] for d in maps])
    return weighted_sum(maps, weights).to(a.device)


def load_percept(name: str, *, device: torch.device | str = "cpu") -> Percept:
    """Returns a frozen feature network.

    Args:
        name: ``"percept-guide"`` or ``"percept-judge"`` (shipped), or ``"lpips-alex"``, ``"lpips-vgg"``,
            ``"lpips-squeeze"`` (the ``lpips`` package; its backbone's weights must be in torch's cache or
            downloadable).

    Raises:
        InpaintError: for another name, or if the package's weights cannot be had.
    """
    check_choice("percept", name, (*SHIPPED, *LPIPS_NETWORKS))
    if name in SHIPPED:
        return Percept(name, build(SHIPPED[name], name).to(device))
    return from_lpips(name, _lpips_package(name).to(device))


def _lpips_package(name: str):
    state, _ = load_weights(name)
    import lpips as package  # imports torchvision: seconds, so only on request

    # The constructors draw from the global generator, and name torchvision's argument as it was once called.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The parameter 'pretrained' is deprecated")
        warnings.filterwarnings("ignore", message="Arguments other than a weight enum")
        # Without its backbone's weights: the package would fetch and unpickle them. Its own, v, come with it.
        model = package.LPIPS(net=name.removeprefix("lpips-"), pnet_rand=True, verbose=False)
    try:
        # "slice2.5.weight" there is "features.5.weight" in torchvision's state.
        model.net.load_state_dict({key: state["features." + key.partition(".")[2]] for key in model.net.state_dict()})
    except (KeyError, RuntimeError) as error:
        raise InpaintError(f"{name} must hold the weights of torchvision's network; {str(error)[:160]}") from None
    return model


class _PackageTaps(nn.Module):
    """The layers of an ``lpips.LPIPS`` model as a list."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> list[Tensor]:
        return list(self.model.net(self.model.scaling_layer(x)))


def from_lpips(name: str, model: nn.Module) -> Percept:
    """Returns the :class:`Percept` of an ``lpips.LPIPS`` model: its scaling, layers and, if it has them, weights."""
    model = model.eval().requires_grad_(False)
    # Fitted weights are meant to be non-negative; the package clamps them in training.
    weights = [lin.model[-1].weight.detach().clamp_min(0) for lin in model.lins] if model.lpips else None
    return Percept(name, _PackageTaps(model), layer_weights=weights)
