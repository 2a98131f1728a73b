"""Makes, reads, writes and measures masks: 1 = hole (to be painted), 0 = known.

A mask is float32 (N, 1, H, W). ``make_mask`` draws one of ``FAMILIES``:

==================================  ==========================================  =======================
family                              hole                                        \\|covered - asked\\|
==================================  ==========================================  =======================
box                                 near-square rectangle at a random place     at most 1 / size
center                              the same, centred                           at most 1 / size
left, right, top, bottom            whole columns or rows from that side        at most 1 / size
strokes-thin, -medium, -thick       round brush strokes along random walks      at most 1 / size^2
scatter                             single pixels                               at most 1 / size^2
mouth, eyes, nose, hair             that part of a face, see below              at most 1 / size^2
==================================  ==========================================  =======================

The first three rows keep to 0.5 / size unless that would leave nothing known or nothing missing. At least
one pixel of a mask is known and at least one is missing. The parts of a face lie where pictures of an alignment
(:mod:`inpaintlib.alignment`) have them: mouth, eyes and nose are rounded boxes around them, hair is a band around the
face above the chin; each grows from its middle until the coverage is reached. Source: this project.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .alignment import ALIGNMENTS
from .checks import InpaintError, check_choice, check_integer, check_mask, check_number
from .holes import MAKERS, PARTS
from .images import decode, write_png

__all__ = [
    "FAMILIES",
    "MOSTLY_HIDDEN",
    "border_band",
    "coverage",
    "make_mask",
    "read_mask",
    "resize_mask",
    "shifted",
    "write_mask",
]

FAMILIES: tuple[str, ...] = tuple(MAKERS)
MOSTLY_HIDDEN = 0.6  # of the pixels: an inverted mask is likelier than such a wish


def make_mask(family: str, size: int, *, coverage: float, generator: torch.Generator,
              alignment: str = "celeba") -> Tensor:  # fmt: skip
    """Returns a square mask of one family, float32 (1, 1, size, size), 1 = hole.

    Args:
        family: one of ``FAMILIES``.
        size: side in pixels, at least 2.
        coverage: fraction of the pixels to hide, strictly between 0 and 1; the module's text states how
            closely each family keeps it.
        generator: on the CPU; the source of every draw (sides, center and the parts of a face draw nothing).
        alignment: how faces lie in the pictures, a generator's ``alignment``; only the parts of a face depend on it.
            ``none`` is taken for ``celeba``.

    Raises:
        InpaintError: if the family or alignment is unknown, or size, coverage or generator is not as above.

    Example:
        >>> make_mask("left", 4, coverage=0.5, generator=torch.Generator())[0, 0, 0].tolist()
        [1.0, 1.0, 0.0, 0.0]
    """
    check_choice("family", family, FAMILIES)
    check_choice("alignment", alignment, ALIGNMENTS)
    check_integer("size", size, low=2)
    check_number("coverage", coverage)
    if not 0.0 < coverage < 1.0:
        raise InpaintError(f"coverage must lie between 0 and 1, both excluded; got {coverage}")
    if not isinstance(generator, torch.Generator) or generator.device.type != "cpu":
        raise InpaintError(f"generator must be a torch.Generator on the CPU; got {generator!r}")
    layout = {"alignment": alignment} if family in PARTS else {}
    return MAKERS[family](size, coverage, generator, **layout).float()[None, None]


def read_mask(
    path: str | Path,
    *,
    size: tuple[int, int] | None = None,
    hole: str = "white",
    threshold: bool = False,
    resize: bool = False,
) -> Tensor:
    """Returns the mask in a file, float32 (1, 1, H, W), 1 = hole.

    Args:
        path: PNG, JPEG, WebP, BMP or TIFF. An alpha channel must be opaque: tools disagree on whether
            the transparent part is the hole.
        size: (H, W) that the mask must have; None accepts any.
        hole: "white", or "black" for files of tools with the opposite convention.
        threshold: split grey and coloured pixels at half brightness (a JPEG has some at every edge)
            instead of refusing them.
        resize: bring a mask of another size to ``size`` by ``resize_mask`` instead of refusing it.

    Raises:
        InpaintError: naming the file, if it cannot be read (as ``images.decode``), is not pure black and
            white, is transparent somewhere, has another size, or has no hole or nothing known.
    """
    check_choice("hole", hole, ("white", "black"))
    white = _white(path, threshold)
    mask = torch.from_numpy(white if hole == "white" else ~white).float()[None, None]
    if size is not None and tuple(mask.shape[2:]) != tuple(size):
        if not resize:
            found, asked = (f"{s[1]} x {s[0]}" for s in (mask.shape[2:], size))
            raise InpaintError(
                f"{path} must be {asked} pixels (width x height) as its image; got {found}."
                " Bring it to that size with resize=True in Python, RESIZE=1 for make inpaint."
            )
        mask = resize_mask(mask, size)
    low, high = mask.min(), mask.max()
    if low == high:
        fault = "nothing is missing" if high == 0 else "nothing is known"
        raise InpaintError(f"{path} must have black and white pixels ({hole} = hole); in it {fault}")
    return mask


def _white(path: str | Path, threshold: bool) -> np.ndarray:
    picture = decode(path)
    if picture.getchannel("A").getextrema()[0] < 255:
        raise InpaintError(f"{path} must be black and white without transparency; flatten it onto one colour first")
    if threshold:
        return np.asarray(picture.convert("L")) >= 128
    rgb = np.asarray(picture)[..., :3]
    white = (rgb == 255).all(axis=2)
    grey = int((~white & (rgb != 0).any(axis=2)).sum())
    if grey:
        raise InpaintError(
            f"{path} must be pure black and white; {grey} of its {white.size} pixels are grey or coloured."
            " Split them at half brightness with threshold=True in Python, THRESHOLD=1 for make inpaint."
        )
    return white


def write_mask(path: str | Path, mask: Tensor) -> None:
    """Writes one mask (1, 1, H, W) as 8-bit grey PNG, white = hole.

    Raises:
        InpaintError: if the mask is not a valid single mask or the file cannot be written (nothing is left then).
    """
    check_mask("mask", mask)
    if mask.shape[0] != 1:
        raise InpaintError(f"mask must be a single mask (1, 1, H, W); got {tuple(mask.shape)}")
    write_png(path, (mask[0, 0].detach().cpu() * 255).to(torch.uint8).numpy())


def resize_mask(mask: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Returns the mask at (N, 1, *size); a pixel is a hole if any source pixel that it touches is one.

    So a missing pixel is never taken for a known one, however thin the stroke. Growing by a whole factor
    repeats pixels. ``size`` is the side of a square or (height, width).

    Raises:
        InpaintError: if ``size`` is not positive whole numbers.

    Example:
        >>> resize_mask(torch.tensor([0.0, 0.0, 0.0, 1.0]).view(1, 1, 1, 4), (1, 2)).ravel().tolist()
        [0.0, 1.0]
    """
    height, width = (size, size) if isinstance(size, int) else size
    check_integer("height", height, low=1)
    check_integer("width", width, low=1)
    return F.adaptive_max_pool2d(mask, (height, width))


def coverage(mask: Tensor) -> Tensor:
    """Returns the hidden fraction of each mask, (N,) in [0, 1].

    Example:
        >>> coverage(torch.tensor([1.0, 0.0, 0.0, 0.0]).view(1, 1, 2, 2)).tolist()
        [0.25]
    """
    return mask.flatten(1).mean(dim=1)


def shifted(mask: Tensor, dy: int, dx: int, *, repeat: bool = False) -> Tensor:
    """Returns the mask moved ``dy`` px down and ``dx`` px to the right (below 0: up, left), (N, 1, H, W).

    Args:
        mask: (N, 1, H, W), 1 = hole.
        repeat: what comes in at the border is like the border's own pixels, and what goes out is lost; else it is
            known, and the whole hole must stay inside.

    Raises:
        InpaintError: if the mask is not valid, a shift is as large as the image, or, without ``repeat``, a part of the
            hole would leave the image: then another hole would be compared.

    Example:
        >>> mask = torch.tensor([1.0, 0.0, 0.0]).view(1, 1, 1, 3)
        >>> shifted(mask, 0, 1).ravel().tolist(), shifted(mask, 0, 1, repeat=True).ravel().tolist()
        ([0.0, 1.0, 0.0], [1.0, 1.0, 0.0])
    """
    check_mask("mask", mask)
    height, width = mask.shape[2:]
    check_integer("dy", dy, low=1 - height, high=height - 1)
    check_integer("dx", dx, low=1 - width, high=width - 1)
    top, left = max(dy, 0), max(dx, 0)
    sides = (left, max(-dx, 0), top, max(-dy, 0))
    padded = F.pad(mask.float(), sides, mode="replicate") if repeat else F.pad(mask, sides)
    moved = padded[:, :, top - dy :, left - dx :][:, :, :height, :width].to(mask.dtype)
    lost = int(mask.sum() - moved.sum())
    if lost and not repeat:
        raise InpaintError(
            f"mask must keep its hole inside the image when it moves; {dy} px down and {dx} px right take {lost} pixels"
            " out. Take smaller shifts or a smaller hole."
        )
    return moved


def border_band(mask: Tensor, width: int) -> Tensor:
    """Returns (N, 1, H, W) in {0, 1}: pixels whose nearest pixel of the other kind is at most ``width`` away.

    The distance is the larger of the offsets in x and y; the image's own border is no edge. Both the
    known and the missing side are in the band, which is where a seam would show.

    Raises:
        InpaintError: if the mask is not valid or ``width`` is below 1.

    Example:
        >>> border_band(torch.tensor([0.0, 0.0, 0.0, 1.0, 1.0]).view(1, 1, 1, 5), 1).ravel().tolist()
        [0.0, 0.0, 1.0, 1.0, 0.0]
    """
    check_mask("mask", mask)
    check_integer("width", width, low=1)
    near_hole = F.max_pool2d(mask, 2 * width + 1, stride=1, padding=width)
    near_known = F.max_pool2d(1.0 - mask, 2 * width + 1, stride=1, padding=width)
    return near_hole * near_known
