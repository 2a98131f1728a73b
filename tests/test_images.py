"""Reading, writing, resizing and joining images."""

from __future__ import annotations

import os
import resource
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inpaintlib import images
from inpaintlib.checks import InpaintError

from .tiny import pictures

ORIENTATION = 0x0112


def _noise(height: int = 9, width: int = 12, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def _smooth() -> np.ndarray:
    """A picture that lossy formats keep well."""
    y, x = np.mgrid[0:24, 0:32]
    return np.stack([4 * x + 60, 6 * y + 60, 3 * (x + y) + 40], axis=-1).astype(np.uint8)


def _pixels(path: Path) -> np.ndarray:
    return images.to_uint8(images.read_image(path))[0]


def _png(path: Path, width: int, height: int) -> Path:
    """Writes a PNG of a few bytes whose header claims width x height pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


def _random(n: int, height: int, width: int) -> torch.Tensor:
    return torch.rand(n, 3, height, width, generator=torch.Generator().manual_seed(n)) * 2.0 - 1.0


# --- bytes and floats ---


def test_every_level_survives_the_round_trip():
    levels = np.arange(256, dtype=np.uint8).repeat(3).reshape(1, 16, 16, 3)
    image = images.from_uint8(levels)
    assert image.min() == -1.0 and image.max() == 1.0
    assert np.array_equal(images.to_uint8(image), levels)


def test_to_uint8_rounds_and_clamps():
    x = torch.tensor([-3.0, -1.0, 0.4 / 127.5 - 1.0, 0.6 / 127.5 - 1.0, 1.0, 3.0]).view(1, 1, 1, 6).expand(1, 3, 1, 6)
    assert images.to_uint8(x)[0, 0, :, 0].tolist() == [0, 0, 0, 1, 255, 255]


def test_channels_keep_their_order():
    array = _noise()[None]
    blue = images.from_uint8(array)[0, 2]
    assert np.allclose(blue.numpy(), array[0, :, :, 2] / 127.5 - 1.0, atol=1e-6)


@pytest.mark.parametrize("image", [torch.zeros(3, 4, 4), torch.zeros(1, 1, 4, 4), torch.zeros(1, 3, 4, 4).byte()])
def test_to_uint8_refuses_other_tensors(image: torch.Tensor):
    with pytest.raises(InpaintError, match=r"image must be floating-point \(N, 3, H, W\)"):
        images.to_uint8(image)


def test_to_uint8_refuses_nan():
    with pytest.raises(InpaintError, match="finite"):
        images.to_uint8(torch.full((1, 3, 2, 2), torch.nan))


def test_levels_of_a_tensor_and_of_an_array_are_the_same_image():
    levels = np.random.default_rng(1).integers(0, 256, (2, 5, 4, 3), dtype=np.uint8)
    tensor = torch.from_numpy(levels).permute(0, 3, 1, 2)
    assert torch.equal(images.from_levels(tensor), images.from_uint8(levels))


@pytest.mark.parametrize("levels", [torch.zeros(1, 3, 2, 2), torch.zeros(1, 2, 2, 3, dtype=torch.uint8)])
def test_from_levels_refuses_other_tensors(levels: torch.Tensor):
    with pytest.raises(InpaintError, match=r"levels must be uint8 \(N, 3, H, W\)"):
        images.from_levels(levels)


@pytest.mark.parametrize(
    "array", [np.zeros((1, 2, 2, 3)), np.zeros((2, 2, 3), np.uint8), np.zeros((1, 2, 2, 4), np.uint8)]
)
def test_from_uint8_refuses_other_arrays(array: np.ndarray):
    with pytest.raises(InpaintError, match="array must be uint8"):
        images.from_uint8(array)


# --- reading ---


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.png", {}),
        ("a.bmp", {}),
        ("a.tiff", {}),
        ("b.tif", {"compression": "tiff_lzw"}),
        ("a.webp", {"lossless": True}),
    ],
)
def test_lossless_formats_are_read_exactly(tmp_path: Path, name: str, options: dict):
    Image.fromarray(_noise()).save(tmp_path / name, **options)
    image = images.read_image(tmp_path / name)
    assert image.dtype == torch.float32 and image.shape == (1, 3, 9, 12)
    assert np.array_equal(images.to_uint8(image)[0], _noise())


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_lossy_formats_are_read_closely(tmp_path: Path, name: str):
    Image.fromarray(_smooth()).save(tmp_path / name, quality=95)
    assert np.abs(_pixels(tmp_path / name).astype(int) - _smooth()).max() <= 12


def test_path_may_be_a_string_and_have_any_suffix(tmp_path: Path):
    Image.fromarray(_noise()).save(tmp_path / "photo", format="PNG")
    assert np.array_equal(images.to_uint8(images.read_image(str(tmp_path / "photo")))[0], _noise())


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.tiff"])
def test_exif_orientation_turns_the_picture_upright(tmp_path: Path, name: str):
    exif = Image.Exif()
    exif[ORIENTATION] = 6  # the camera was turned by a quarter
    Image.fromarray(_smooth()).save(tmp_path / name, exif=exif, quality=95)
    upright = np.rot90(_smooth(), -1).astype(int)
    assert np.abs(_pixels(tmp_path / name) - upright).max() <= 12


def test_sixteen_bit_grey_is_scaled_not_clipped(tmp_path: Path):
    levels = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    for name in ("a.png", "a.tiff"):
        Image.fromarray(levels).save(tmp_path / name)
        assert np.array_equal(_pixels(tmp_path / name)[..., 1], np.arange(256).reshape(16, 16))


def test_bilevel_and_grey_become_rgb(tmp_path: Path):
    grey = _noise()[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(grey > 127).save(tmp_path / "bilevel.png")
    assert np.array_equal(_pixels(tmp_path / "grey.png"), grey[..., None].repeat(3, axis=2))
    assert np.array_equal(_pixels(tmp_path / "bilevel.png")[..., 0], np.where(grey > 127, 255, 0))


def test_transparent_pixels_show_white_not_their_hidden_colour(tmp_path: Path):
    array = np.dstack([_noise(), np.full((9, 12), 255, np.uint8)])
    array[:4, :, 3] = 0
    Image.fromarray(array).save(tmp_path / "a.png")
    found = _pixels(tmp_path / "a.png")
    assert (found[:4] == 255).all() and np.array_equal(found[4:], array[4:, :, :3])


def test_half_transparent_black_is_grey(tmp_path: Path):
    Image.fromarray(np.full((2, 2, 2), (0, 128), np.uint8)).save(tmp_path / "la.png")
    assert (_pixels(tmp_path / "la.png") == 127).all()


def test_transparent_palette_colour_shows_white(tmp_path: Path):
    indexed = Image.new("P", (4, 4))
    indexed.putpalette([255, 0, 0, 0, 0, 255])
    indexed.putpixel((0, 0), 1)
    indexed.save(tmp_path / "a.png", transparency=0)
    found = _pixels(tmp_path / "a.png")
    assert found[0, 0].tolist() == [0, 0, 255] and found[3, 3].tolist() == [255, 255, 255]


def test_transparent_grey_level_of_sixteen_bits_shows_white(tmp_path: Path):
    Image.fromarray(np.array([[0, 257 * 10]], np.uint16)).save(tmp_path / "a.png", transparency=0)
    assert _pixels(tmp_path / "a.png")[0, :, 0].tolist() == [255, 10]


def test_cmyk_is_accepted(tmp_path: Path):
    Image.fromarray(_smooth()).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert np.abs(_pixels(tmp_path / "a.jpg").astype(int) - _smooth()).max() <= 16


def test_camera_jpeg_with_previews_gives_its_first_picture(tmp_path: Path):
    preview = Image.new("RGB", (4, 4))
    Image.fromarray(_smooth()).save(
        tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[preview], quality=95
    )
    assert np.abs(_pixels(tmp_path / "a.jpg").astype(int) - _smooth()).max() <= 12


# --- files that are refused ---


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tiff"])
def test_several_frames_are_refused(tmp_path: Path, name: str):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    with pytest.raises(InpaintError, match=f"{name} must hold one picture; it holds 3 frames"):
        images.read_image(tmp_path / name)


@pytest.mark.parametrize(("mode", "value"), [("F", 0.5), ("I", 7)])
def test_thirty_two_bit_levels_are_refused(tmp_path: Path, mode: str, value: float):
    Image.new(mode, (4, 4), value).save(tmp_path / "a.tiff")
    with pytest.raises(InpaintError, match="a.tiff must have 8 or 16 bits"):
        images.read_image(tmp_path / "a.tiff")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp", "a.bmp", "a.tiff"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_file_is_refused(tmp_path: Path, name: str, share: float):
    Image.fromarray(_noise(64, 64)).save(tmp_path / name)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(share * len(data))])
    with pytest.raises(InpaintError, match=f"{name} (cannot be decoded|must be a PNG)"):
        images.read_image(tmp_path / name)


def test_missing_file_is_refused(tmp_path: Path):
    with pytest.raises(InpaintError, match="gone.png must be a picture file; there is no such file"):
        images.read_image(tmp_path / "gone.png")


def test_folder_is_refused(tmp_path: Path):
    with pytest.raises(InpaintError, match="it is a folder"):
        images.read_image(tmp_path)


def test_empty_file_is_refused(tmp_path: Path):
    (tmp_path / "a.png").touch()
    with pytest.raises(InpaintError, match="a.png must be a picture file; it is empty"):
        images.read_image(tmp_path / "a.png")


def test_text_is_refused(tmp_path: Path):
    (tmp_path / "a.png").write_text("not a picture")
    with pytest.raises(InpaintError, match="a.png must be a PNG, JPEG, WebP, BMP or TIFF picture"):
        images.read_image(tmp_path / "a.png")


@pytest.mark.parametrize("format", ["GIF", "EPS", "PPM"])
def test_other_formats_are_refused_whatever_their_name(tmp_path: Path, format: str):
    Image.fromarray(_noise()).save(tmp_path / "a.png", format=format)
    with pytest.raises(InpaintError, match="it is none of them"):
        images.read_image(tmp_path / "a.png")


# Just above our own cap, above Pillow's warning, above Pillow's error.
@pytest.mark.parametrize("side", [8001, 10_000, 16_000])
def test_decompression_bomb_is_refused_undecoded(tmp_path: Path, side: int):
    with pytest.raises(InpaintError, match="bomb.png must have at most 64 million pixels"):
        images.read_image(_png(tmp_path / "bomb.png", side, side))


# --- writing ---


@pytest.mark.parametrize("batched", [True, False])
def test_written_image_reads_back_exactly(tmp_path: Path, batched: bool):
    image = images.from_uint8(_noise()[None])
    images.write_image(tmp_path / "a.png", image if batched else image[0])
    assert torch.equal(images.read_image(tmp_path / "a.png"), image)
    assert os.listdir(tmp_path) == ["a.png"]


def test_only_png_is_written(tmp_path: Path):
    with pytest.raises(InpaintError, match=r"a.jpg must end in .png"):
        images.write_image(tmp_path / "a.jpg", torch.zeros(1, 3, 4, 4))


@pytest.mark.parametrize("shape", [(2, 3, 4, 4), (4, 4), (1, 1, 4, 4)])
def test_only_one_rgb_image_is_written(tmp_path: Path, shape: tuple[int, ...]):
    with pytest.raises(InpaintError, match="image must be"):
        images.write_image(tmp_path / "a.png", torch.zeros(shape))
    assert not os.listdir(tmp_path)


def test_unwritable_folder_is_one_sentence(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(InpaintError, match="a.png cannot be written: "):
        images.write_image(tmp_path / "file" / "a.png", torch.zeros(1, 3, 4, 4))


def test_failed_write_leaves_the_older_file_and_nothing_else(tmp_path: Path):
    images.write_image(tmp_path / "a.png", torch.zeros(1, 3, 4, 4))
    before = (tmp_path / "a.png").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # acts as a disk that is full after 1000 bytes
    try:
        with pytest.raises(InpaintError, match="a.png cannot be written"):
            images.write_image(tmp_path / "a.png", _random(1, 64, 64))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == ["a.png"] and (tmp_path / "a.png").read_bytes() == before


# --- resizing and cropping ---


def test_resize_to_the_same_size_changes_nothing():
    image = _random(2, 16, 16)
    assert torch.allclose(images.resize(image, 16), image, atol=1e-6)


@pytest.mark.parametrize("size", [8, 48, (12, 40)])
def test_resize_keeps_a_ramp_a_ramp(size: int | tuple[int, int]):
    ramp = torch.linspace(-0.8, 0.8, 24).view(1, 1, 1, 24).expand(1, 3, 24, 24)
    resized = images.resize(ramp, size)
    height, width = (size, size) if isinstance(size, int) else size
    centres = (torch.arange(width) + 0.5) * 24 / width - 0.5
    expected = -0.8 + 1.6 * centres / 23
    inner = (centres > 6) & (centres < 17)  # away from the border, where the filter is cut off
    assert resized.shape == (1, 3, height, width)
    assert torch.allclose(resized[0, 0, height // 2][inner], expected[inner], atol=1e-5)


def test_resize_is_antialiased():
    board = (torch.arange(64).view(-1, 1) + torch.arange(64)).remainder(2).float() * 2.0 - 1.0
    assert images.resize(board.expand(1, 3, 64, 64), 16).abs().max() < 0.05


@pytest.mark.parametrize(("before", "after"), [((64, 64), (24, 24)), ((20, 30), (47, 11)), ((16, 16), (16, 16))])
def test_resampling_by_products_is_the_same_interpolation(before, after):
    image = pictures(2, 64, dtype=torch.float64)[..., : before[0], : before[1]].requires_grad_()
    expected = torch.nn.functional.interpolate(image, after, mode="bicubic", antialias=True)
    found = images.resampled(image, after)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad(x.square().sum(), image)[0] for x in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-11, atol=1e-11)


def test_resize_is_clamped():
    step = torch.ones(1, 3, 8, 8)
    step[..., :4] = -1.0
    resized = images.resize(step, 32)  # bicubic overshoots at the step
    assert resized.min() == -1.0 and resized.max() == 1.0


def test_resize_has_the_right_gradient():
    image = _random(1, 6, 6).double().mul(0.5).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: images.resize(x, 4), image)


@pytest.mark.parametrize("size", [0, (4, -1), (4, 2.5)])
def test_resize_refuses_sizes(size: object):
    with pytest.raises(InpaintError, match="must be"):
        images.resize(torch.zeros(1, 3, 4, 4), size)


def test_square_box_is_centred():
    assert images.square_box(5, 9) == (0, 2, 5)
    assert images.square_box(9, 5) == (2, 0, 5)
    assert images.square_box(4, 4) == (0, 0, 4)


def test_crop_takes_the_box():
    image = _random(1, 6, 8)
    assert torch.equal(images.crop(image, (1, 2, 4)), image[:, :, 1:5, 2:6])


@pytest.mark.parametrize("box", [(-1, 0, 2), (0, 5, 4), (3, 0, 4), (0, 0, 0)])
def test_crop_refuses_a_box_outside(box: tuple[int, int, int]):
    with pytest.raises(InpaintError, match="must lie inside 6 x 8"):
        images.crop(torch.zeros(1, 3, 6, 8), box)


# --- joining ---


def test_composite_keeps_known_pixels_bit_for_bit():
    image, generated = _random(3, 8, 8), _random(4, 8, 8)[:3]
    mask = torch.zeros(3, 1, 8, 8)
    mask[:, :, 2:5, 3:] = 1.0
    hole = mask.bool().expand(3, 3, 8, 8)
    found = images.composite(image, generated, mask)
    assert torch.equal(found[~hole], image[~hole]) and torch.equal(found[hole], generated[hole])


def test_composite_lets_no_nan_out_of_the_hole_and_no_gradient_into_the_known_part():
    mask = torch.zeros(1, 1, 4, 4)
    mask[..., :2] = 1.0
    image = torch.where(mask == 1, torch.nan, _random(1, 4, 4))
    generated = _random(2, 4, 4).requires_grad_()
    found = images.composite(image, generated, mask)
    found.sum().backward()
    assert found.isfinite().all()
    assert torch.equal(generated.grad, mask.expand(2, 3, 4, 4))


def test_composite_refuses_what_does_not_fit():
    with pytest.raises(InpaintError, match="image must fit"):
        images.composite(torch.zeros(1, 3, 4, 5), torch.zeros(1, 3, 4, 4), torch.eye(4)[None, None])
    with pytest.raises(InpaintError, match="mask must fit"):
        images.composite(torch.zeros(1, 3, 4, 4), torch.zeros(1, 3, 4, 4), torch.eye(5)[None, None])


def test_paste_back_changes_only_the_hole():
    photo, patch = _random(1, 20, 33), _random(2, 8, 8)[:1]
    box = images.square_box(20, 33)
    mask = torch.zeros(1, 1, 20, 33)
    mask[..., 5:12, 10:20] = 1.0
    found = images.paste_back(photo, mask, patch, box)
    hole = mask.bool().expand_as(photo)
    filled = torch.zeros_like(photo)
    filled[..., 6:26] = images.resize(patch, 20)
    assert torch.equal(found[~hole], photo[~hole]) and torch.equal(found[hole], filled[hole])


def test_paste_back_refuses_a_hole_outside_the_box():
    mask = torch.zeros(1, 1, 4, 9)
    mask[..., 1, :5] = 1.0
    with pytest.raises(InpaintError, match="2 hole pixels lie outside"):
        images.paste_back(torch.zeros(1, 3, 4, 9), mask, torch.zeros(1, 3, 2, 2), images.square_box(4, 9))


def test_sheet_reads_row_by_row_and_pads_with_white():
    cells = torch.arange(5.0).view(5, 1, 1, 1).expand(5, 3, 2, 3) / 10.0
    found = images.sheet(cells, 3)
    assert found.shape == (3, 4, 9)
    assert torch.allclose(found[1, ::2, ::3], torch.tensor([[0.0, 0.1, 0.2], [0.3, 0.4, 1.0]]))


def test_sheet_refuses_no_columns():
    with pytest.raises(InpaintError, match="columns must be at least 1"):
        images.sheet(torch.zeros(1, 3, 2, 2), 0)
