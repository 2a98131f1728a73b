"""Reads, writes, resizes and joins images; the only place where bytes become floats and back.

Inside the library an image is float32 (N, 3, H, W), RGB in [-1, 1]. A file's level b in 0..255 is
``b / 127.5 - 1``, and ``round(127.5 (x + 1))`` brings every level back exactly.

``decode`` is the one door through which files come in, masks included. It reads PNG, JPEG, WebP, BMP and
TIFF. Pictures are turned upright by their EXIF orientation; 16-bit grey is divided by 257; CMYK and 16-bit
colour are brought to 8-bit RGB as Pillow does it; colour profiles are not applied. Animations, pages,
32-bit levels and more than 64 million pixels are refused before any pixel is decoded.
"""

from __future__ import annotations

import functools
import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from .checks import InpaintError, check_finite, check_integer, check_mask
from .files import write_atomically

__all__ = ["MAX_PIXELS", "at_once", "check_png", "composite", "crop", "decode", "from_levels", "from_uint8",
           "paste_back", "png", "read_image", "resampled", "resize", "sheet", "square_box", "to_uint8", "write_image",
           "write_png"]  # fmt: skip

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF")
MAX_PIXELS = 64_000_000
# What Pillow is known to raise on damaged files; anything else would be a fault of ours.
DAMAGE = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, OverflowError, struct.error, zlib.error)

Box = tuple[int, int, int]  # top, left, side in pixels


def decode(path: str | Path) -> Image.Image:
    """Returns the picture in a file as 8-bit RGBA (straight alpha), upright.

    Raises:
        InpaintError: if the file is missing, empty, truncated, no picture of a known format, has several
            frames, 32-bit levels or more than ``MAX_PIXELS`` pixels.
    """
    path = Path(path)
    _check_file(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # notes on damaged metadata; damaged pixels raise
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as im:
                _check_header(path, im)
                im.load()
                return _rgba(ImageOps.exif_transpose(im))
    except InpaintError:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError):
        raise _too_large(path) from None
    except UnidentifiedImageError:
        raise InpaintError(f"{path} must be a PNG, JPEG, WebP, BMP or TIFF picture; it is none of them") from None
    except DAMAGE as error:
        raise InpaintError(f"{path} cannot be decoded, it may be cut off or damaged: {error}") from None


def _check_file(path: Path) -> None:
    try:
        if path.is_dir():
            raise InpaintError(f"{path} must be a picture file; it is a folder")
        if not path.is_file():
            raise InpaintError(f"{path} must be a picture file; there is no such file")
        if path.stat().st_size == 0:
            raise InpaintError(f"{path} must be a picture file; it is empty")
    except OSError as error:
        raise InpaintError(f"{path} cannot be read: {error.strerror}") from None


def _too_large(path: Path) -> InpaintError:
    return InpaintError(f"{path} must have at most {MAX_PIXELS // 10**6} million pixels; scale it down first")


def _check_header(path: Path, im: Image.Image) -> None:
    if im.width * im.height > MAX_PIXELS:
        raise _too_large(path)
    if im.mode in ("I", "F"):
        raise InpaintError(f"{path} must have 8 or 16 bits a channel; its 32-bit levels have no known range")
    # The further pictures in a camera's JPEG are previews and depth maps, so its first one is the photo.
    frames = 1 if im.format in ("JPEG", "MPO") else getattr(im, "n_frames", 1)
    if frames > 1:
        raise InpaintError(f"{path} must hold one picture; it holds {frames} frames. Save the wanted one by itself.")


def _rgba(im: Image.Image) -> Image.Image:
    if not im.mode.startswith("I;16"):
        return im.convert("RGBA")  # also resolves palettes and transparent colours
    levels = np.asarray(im)
    # Pillow would clip 16-bit grey at 255 and so lose all but the darkest levels.
    grey = ((levels.astype(np.uint32) + 128) // 257).astype(np.uint8)
    alpha = np.where(levels == im.info.get("transparency", -1), 0, 255).astype(np.uint8)
    return Image.fromarray(np.stack([grey, grey, grey, alpha], axis=-1))


def read_image(path: str | Path) -> Tensor:
    """Returns the picture in a file, float32 (1, 3, H, W) in [-1, 1]; transparent parts show white.

    Raises:
        InpaintError: as ``decode`` does.
    """
    picture = decode(path)
    opaque = Image.new("RGB", picture.size, "white")
    opaque.paste(picture, mask=picture.getchannel("A"))
    return from_uint8(np.asarray(opaque)[None])


def write_image(path: str | Path, image: Tensor) -> None:
    """Writes one image, (1, 3, H, W) or (3, H, W), as 8-bit PNG; values outside [-1, 1] are clamped.

    Raises:
        InpaintError: if the image has another shape or holds NaN, the name does not end in .png, or the
            file cannot be written; then no file is left behind and an older one stays as it was.
    """
    batch = image[None] if image.ndim == 3 else image
    if batch.shape[0] != 1:
        raise InpaintError(f"image must be a single image, (1, 3, H, W) or (3, H, W); got {tuple(image.shape)}")
    write_png(path, to_uint8(batch)[0])


def write_png(path: str | Path, pixels: np.ndarray) -> None:
    """Writes uint8 pixels, (H, W, 3) or grey (H, W), as PNG: whole or not at all.

    Raises:
        InpaintError: if the name does not end in .png or the file cannot be written.
    """
    check_png(path)
    write_atomically(path, png(pixels))


def png(pixels: np.ndarray, **options: int) -> bytes:
    """Returns uint8 pixels, (H, W, 3) or grey (H, W), as the content of a PNG, with the options of Pillow's writer."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", **options)
    return buffer.getvalue()


def check_png(path: str | Path) -> None:
    """Raises InpaintError unless the name ends in .png."""
    if Path(path).suffix.lower() != ".png":
        raise InpaintError(f"{path} must end in .png, the format that is written")


def to_uint8(image: Tensor) -> np.ndarray:
    """Returns uint8 (N, H, W, 3): ``round(127.5 (x + 1))`` clamped to 0..255.

    Args:
        image: (N, 3, H, W), any floating type and device; values outside [-1, 1] are clamped.

    Raises:
        InpaintError: if the shape or type differs or a value is not finite.

    Example:
        >>> to_uint8(torch.tensor([-1.0, 0.0, 2.0]).view(1, 3, 1, 1)).ravel().tolist()
        [0, 128, 255]
    """
    _check_shape("image", image)
    check_finite("image", image)
    levels = ((image.detach().float() + 1.0) * 127.5).round().clamp(0.0, 255.0)
    return levels.to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def from_uint8(array: np.ndarray) -> Tensor:
    """Returns float32 (N, 3, H, W) in [-1, 1] of uint8 (N, H, W, 3): ``b / 127.5 - 1``.

    Raises:
        InpaintError: if the shape or type differs.
    """
    if array.dtype != np.uint8 or array.ndim != 4 or array.shape[3] != 3:
        raise InpaintError(f"array must be uint8 (N, H, W, 3); got {array.dtype} {array.shape}")
    return from_levels(torch.tensor(array).permute(0, 3, 1, 2).contiguous())


def from_levels(levels: Tensor) -> Tensor:
    """Returns float32 in [-1, 1] of uint8 levels, both (N, 3, H, W) on one device: ``b / 127.5 - 1``.

    Raises:
        InpaintError: if the shape or type differs.

    Example:
        >>> from_levels(torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)).ravel().tolist()
        [-1.0, -0.6000000238418579, 1.0]
    """
    if levels.dtype != torch.uint8 or levels.ndim != 4 or levels.shape[1] != 3:
        raise InpaintError(f"levels must be uint8 (N, 3, H, W); got {levels.dtype} {tuple(levels.shape)}")
    return levels.float().div_(127.5).sub_(1.0)


def resize(image: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Returns the image at (N, 3, *size), bicubic, antialiased when it shrinks, clamped to [-1, 1].

    It can be differentiated. ``size`` is the side of a square or (height, width), in pixels.

    Raises:
        InpaintError: if ``size`` or the image's shape is not right.
    """
    _check_shape("image", image)
    height, width = (size, size) if isinstance(size, int) else size
    check_integer("height", height, low=1)
    check_integer("width", width, low=1)
    if image.device.type == "cuda" and image.requires_grad:
        return resampled(image, (height, width)).clamp(-1.0, 1.0)
    return F.interpolate(image, (height, width), mode="bicubic", antialias=True).clamp(-1.0, 1.0)


def resampled(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Returns what ``resize`` does before it clamps, as two matrix products, equal up to rounding.

    On a GPU the gradient of interpolation has no deterministic kernel; products have.
    """
    rows, columns = (_resampler(*pair).to(image) for pair in zip(image.shape[2:], size, strict=True))
    with torch.autocast(image.device.type, enabled=False):
        return rows @ image @ columns.t()


@functools.lru_cache(maxsize=16)
def _resampler(before: int, after: int) -> Tensor:
    """The matrix (after, before) of bicubic, antialiased interpolation along one axis: what becomes of unit vectors."""
    units = torch.eye(before, dtype=torch.float64)[None, None]
    return F.interpolate(units, (after, before), mode="bicubic", antialias=True)[0, 0]


def square_box(height: int, width: int) -> Box:
    """Returns (top, left, side) of the largest centred square.

    Example:
        >>> square_box(4, 9)
        (0, 2, 4)
    """
    check_integer("height", height, low=1)
    check_integer("width", width, low=1)
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side


def crop(image: Tensor, box: Box) -> Tensor:
    """Returns the square ``box`` = (top, left, side) of an image or mask (N, C, H, W), as a view.

    Raises:
        InpaintError: if the box leaves the image.
    """
    top, left, side = box
    height, width = image.shape[-2:]
    if top < 0 or left < 0 or side < 1 or top + side > height or left + side > width:
        raise InpaintError(f"box (top, left, side) must lie inside {height} x {width} (height x width); got {box}")
    return image[..., top : top + side, left : left + side]


def composite(image: Tensor, generated: Tensor, mask: Tensor) -> Tensor:
    """Returns ``K x + M G``: ``generated`` in the hole, ``image`` elsewhere, bit for bit.

    Args:
        image: (N, 3, H, W), or N = 1 for all items.
        generated: (N, 3, H, W), same type.
        mask: (N, 1, H, W), or N = 1 for all items; 1 = hole, 0 = known.

    Raises:
        InpaintError: if shapes do not fit or the mask is not binary or has no hole or nothing known.
    """
    _check_shape("generated", generated)
    if image.shape[1:] != generated.shape[1:] or image.shape[0] not in (1, generated.shape[0]):
        raise InpaintError(f"image must fit generated's {tuple(generated.shape)}; got {tuple(image.shape)}")
    check_mask("mask", mask, like=generated)
    return torch.where(mask == 1, generated, image)


def paste_back(photo: Tensor, mask: Tensor, patch: Tensor, box: Box) -> Tensor:
    """Returns the photo with its hole filled from ``patch``, resized to the box; known pixels bit for bit.

    Args:
        photo: (1, 3, H, W) in [-1, 1], any size.
        mask: (1, 1, H, W), 1 = hole, at the photo's resolution; the whole hole lies in the box.
        patch: (1, 3, h, w), what the model made of the box, at the model's resolution.
        box: (top, left, side) in the photo.

    Raises:
        InpaintError: if shapes do not fit, or part of the hole lies outside the box and would stay unfilled.
    """
    top, left, side = box
    hole = crop(mask, box)
    outside = int(mask.count_nonzero() - hole.count_nonzero())
    if outside:
        raise InpaintError(f"mask must have its hole inside box {box}; {outside} hole pixels lie outside")
    canvas = photo.clone()
    canvas[..., top : top + side, left : left + side] = resize(patch, side).to(photo.dtype)
    return composite(photo, canvas, mask)


def at_once(size: int, most: int = 64) -> int:
    """Returns how many images of ``size`` px a side go through a network together, so that memory is bounded.

    ``most`` up to 64 px, then as many as have the same number of pixels, at least 1.

    Example:
        >>> at_once(32), at_once(256), at_once(1024)
        (64, 4, 1)
    """
    return max(most * 64**2 // max(size, 64) ** 2, 1)


def sheet(images: Tensor, columns: int) -> Tensor:
    """Returns (3, rows H, columns W): the images in reading order; cells left over are white.

    Raises:
        InpaintError: if ``images`` is not (N, 3, H, W) or ``columns`` is below 1.
    """
    _check_shape("images", images)
    check_integer("columns", columns, low=1)
    n, channels, height, width = images.shape
    rows = -(-n // columns)
    blank = images.new_ones(rows * columns - n, channels, height, width)
    cells = torch.cat([images, blank]).unflatten(0, (rows, columns))
    return cells.permute(2, 0, 3, 1, 4).reshape(channels, rows * height, columns * width)


def _check_shape(name: str, x: Tensor) -> None:
    if not x.is_floating_point() or x.ndim != 4 or x.shape[1] != 3 or 0 in x.shape:
        raise InpaintError(f"{name} must be floating-point (N, 3, H, W); got {x.dtype} {tuple(x.shape)}")
