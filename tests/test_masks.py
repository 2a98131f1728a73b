"""Making, reading, writing and measuring masks."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from inpaintlib import holes, masks
from inpaintlib.checks import InpaintError, check_mask

from .tiny import square_hole

STROKES = tuple(f for f in masks.FAMILIES if f.startswith("strokes"))
DRAWN = ("box", "scatter", *STROKES)


def _make(family: str, size: int = 64, *, coverage: float = 0.25, seed: int = 0) -> torch.Tensor:
    return masks.make_mask(family, size, coverage=coverage, generator=torch.Generator().manual_seed(seed))


def _save(path: Path, levels: np.ndarray) -> Path:
    Image.fromarray(levels).save(path)
    return path


def _half(height: int = 6, width: int = 8) -> np.ndarray:
    """White (255) on the left half."""
    levels = np.zeros((height, width), np.uint8)
    levels[:, : width // 2] = 255
    return levels


# --- families ---


@pytest.mark.parametrize("family", masks.FAMILIES)
@pytest.mark.parametrize("size", [17, 64, 100])
@pytest.mark.parametrize("coverage", [0.03, 0.25, 0.5, 0.9])
def test_coverage_keeps_its_tolerance(family: str, size: int, coverage: float):
    mask = _make(family, size, coverage=coverage)
    check_mask("mask", mask)
    assert mask.shape == (1, 1, size, size) and mask.dtype == torch.float32
    pixels = 1 if family in ("scatter", *STROKES) else size
    assert abs(float(masks.coverage(mask)) - coverage) * size * size <= 0.5 * pixels + 1e-3


@pytest.mark.parametrize("family", masks.FAMILIES)
@pytest.mark.parametrize("size", [2, 5, 16])
@pytest.mark.parametrize("coverage", [1e-6, 0.999999])
def test_extreme_coverage_leaves_something_known_and_something_missing(family: str, size: int, coverage: float):
    mask = _make(family, size, coverage=coverage)
    check_mask("mask", mask)
    assert abs(float(masks.coverage(mask)) - coverage) <= 1.0 / size


@pytest.mark.parametrize("family", DRAWN)
def test_same_seed_same_mask_other_seed_other_mask(family: str):
    assert torch.equal(_make(family, seed=3), _make(family, seed=3))
    assert not torch.equal(_make(family, seed=3), _make(family, seed=4))


@pytest.mark.parametrize("family", masks.FAMILIES)
def test_global_random_state_is_neither_read_nor_moved(family: str):
    state = torch.random.get_rng_state()
    first = _make(family)
    assert torch.equal(torch.random.get_rng_state(), state)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(123)
        assert torch.equal(_make(family), first)


@pytest.mark.parametrize(
    ("family", "where"),
    [
        ("left", np.s_[:, :32]),
        ("right", np.s_[:, 32:]),
        ("top", np.s_[:32]),
        ("bottom", np.s_[32:]),
        ("center", np.s_[16:48, 16:48]),
    ],
)
def test_fixed_families_lie_where_their_name_says(family: str, where: tuple):
    expected = torch.zeros(64, 64)
    expected[where] = 1.0
    assert torch.equal(_make(family, coverage=float(expected.mean()))[0, 0], expected)


@pytest.mark.parametrize(
    ("family", "y", "x", "inside", "outside"),
    [  # places in CelebA's aligned square, as fractions of its side
        ("mouth", 0.755, 0.5, [(0.74, 0.4), (0.78, 0.6)], [(0.65, 0.5), (0.5, 0.37)]),
        ("eyes", 0.51, 0.5, [(0.5, 0.37), (0.5, 0.62)], [(0.7, 0.5), (0.3, 0.5)]),
        ("nose", 0.605, 0.5, [(0.53, 0.5), (0.67, 0.44), (0.67, 0.56)], [(0.5, 0.37), (0.5, 0.62), (0.75, 0.5)]),
    ],
)
def test_a_part_covers_it_and_not_its_neighbours(family: str, y: float, x: float, inside: list, outside: list):
    hole = _make(family, coverage=0.05)[0, 0]
    middle = (hole.nonzero() + 0.5).mean(dim=0) / 64
    assert torch.allclose(middle, torch.tensor([y, x]), atol=0.02)
    assert all(hole[int(64 * v), int(64 * u)] == 1 for v, u in inside)
    assert all(hole[int(64 * v), int(64 * u)] == 0 for v, u in outside)


def test_half_hides_the_asked_fraction_from_its_side():
    assert _make("right", 10, coverage=0.3)[0, 0, 4].tolist() == [0.0] * 7 + [1.0] * 3


def test_box_is_a_near_square_rectangle():
    rows, columns = _make("box", seed=5)[0, 0].nonzero().unbind(1)
    assert rows.max() - rows.min() == 31 and columns.max() - columns.min() == 31 and len(rows) == 32 * 32


def test_boxes_reach_every_border():
    corners = [tuple(_make("box", 8, seed=s)[0, 0].nonzero()[0].tolist()) for s in range(200)]
    assert set(corners) == {(y, x) for y in range(5) for x in range(5)}


def test_wider_brushes_leave_shorter_edges():
    edges = [
        sum(float(masks.border_band(_make(f, coverage=0.3, seed=s), 1).sum()) for s in range(4))
        for f in ("strokes-thick", "strokes-medium", "strokes-thin", "scatter")
    ]
    assert edges == sorted(edges)


def test_strokes_grow_with_coverage():
    nested = [_make("strokes-medium", coverage=c) for c in (0.1, 0.2, 0.4)]
    assert all((small <= large).all() for small, large in itertools.pairwise(nested))


def test_stroke_equals_a_brush_moved_in_small_steps():
    points = torch.tensor([[10.0, 8.0], [14.0, 40.0], [44.0, 30.0]])
    centre = torch.stack(torch.meshgrid(torch.arange(48) + 0.5, torch.arange(48) + 0.5, indexing="ij"), dim=-1)
    stamped = torch.full((48, 48), torch.inf)
    for i in range(2000):
        t, k = i % 1000 / 999.0, i // 1000
        brush = points[k] + t * (points[k + 1] - points[k])
        near = (centre - brush).square().sum(-1) <= 16.0
        stamped[near & stamped.isinf()] = k + t
    arrival = holes.arrival(points, 48, 4.0)
    differs = arrival.isfinite() != stamped.isfinite()
    both = arrival.isfinite() & stamped.isfinite() & (stamped > 0.0)
    assert differs.sum() <= 1  # a pixel centre may lie on the very edge
    assert torch.allclose(arrival[both], stamped[both], atol=2e-2)


@pytest.mark.parametrize("coverage", [0.0, 1.0, -0.1, 1.5, float("nan"), "0.5", True])
def test_coverage_must_be_a_fraction(coverage: object):
    with pytest.raises(InpaintError, match="coverage must"):
        _make("box", coverage=coverage)


def test_unknown_family_lists_the_known_ones():
    with pytest.raises(InpaintError, match="family must be one of box, left, .*; got 'blob'"):
        _make("blob")


@pytest.mark.parametrize("size", [1, 0, 64.0])
def test_size_must_be_a_whole_number(size: object):
    with pytest.raises(InpaintError, match="size must be"):
        _make("box", size)


def test_generator_is_required():
    with pytest.raises(InpaintError, match="generator must be a torch.Generator"):
        masks.make_mask("box", 8, coverage=0.5, generator=None)


# --- files ---


@pytest.mark.parametrize("name", ["m.png", "m.bmp", "m.tiff"])
def test_mask_file_round_trip(tmp_path: Path, name: str):
    mask = _make("strokes-thin", 32)
    masks.write_mask(tmp_path / "m.png", mask)
    Image.open(tmp_path / "m.png").save(tmp_path / name)
    assert torch.equal(masks.read_mask(tmp_path / name), mask)


def test_white_is_the_hole_unless_black_is_asked_for(tmp_path: Path):
    path = _save(tmp_path / "m.png", _half())
    white, black = masks.read_mask(path), masks.read_mask(path, hole="black")
    assert white[0, 0, 0].tolist() == [1.0] * 4 + [0.0] * 4
    assert torch.equal(white, 1.0 - black)


@pytest.mark.parametrize("mode", ["1", "P", "RGB", "RGBA"])
def test_other_pixel_modes_are_read_alike(tmp_path: Path, mode: str):
    Image.fromarray(_half()).convert(mode).save(tmp_path / "m.png")
    assert masks.read_mask(tmp_path / "m.png")[0, 0, 0].tolist() == [1.0] * 4 + [0.0] * 4


def test_sixteen_bit_mask_is_read(tmp_path: Path):
    path = _save(tmp_path / "m.png", _half().astype(np.uint16) * 257)
    assert float(masks.coverage(masks.read_mask(path))) == 0.5


def test_mask_is_turned_upright_with_its_photo(tmp_path: Path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(_half()).save(tmp_path / "m.png", exif=exif)
    assert masks.read_mask(tmp_path / "m.png")[0, 0, :, 0].tolist() == [1.0] * 4 + [0.0] * 4


@pytest.mark.parametrize("level", [1, 128, 254])
def test_grey_pixels_are_counted_and_refused(tmp_path: Path, level: int):
    levels = _half()
    levels[0, :3] = level
    with pytest.raises(
        InpaintError,
        match="m.png must be pure black and white; 3 of its 48 pixels .*threshold=True in Python, THRESHOLD=1 for",
    ):
        masks.read_mask(_save(tmp_path / "m.png", levels))


def test_coloured_pixels_are_refused(tmp_path: Path):
    levels = _half()[..., None].repeat(3, axis=2)
    levels[0, 0] = (255, 0, 0)
    with pytest.raises(InpaintError, match="1 of its 48 pixels are grey or coloured"):
        masks.read_mask(_save(tmp_path / "m.png", levels))


def test_threshold_splits_at_half_brightness(tmp_path: Path):
    levels = np.array([[0, 1, 127, 128, 254, 255]], np.uint8)
    mask = masks.read_mask(_save(tmp_path / "m.png", levels), threshold=True)
    assert mask.flatten().tolist() == [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]


def test_jpeg_mask_is_read_with_threshold(tmp_path: Path):
    Image.fromarray(_half(32, 32)).save(tmp_path / "m.jpg", quality=60)
    assert torch.equal(masks.read_mask(tmp_path / "m.jpg", threshold=True)[0, 0, :, 0], torch.ones(32))


def test_transparent_mask_is_refused(tmp_path: Path):
    levels = np.dstack([np.zeros((6, 8, 3), np.uint8), _half()])
    with pytest.raises(InpaintError, match="m.png must be black and white without transparency"):
        masks.read_mask(_save(tmp_path / "m.png", levels))


@pytest.mark.parametrize(
    ("level", "hole", "fault"),
    [(0, "white", "missing"), (255, "white", "known"), (0, "black", "known"), (255, "black", "missing")],
)
def test_mask_with_nothing_known_or_missing_is_refused(tmp_path: Path, level: int, hole: str, fault: str):
    path = _save(tmp_path / "m.png", np.full((4, 4), level, np.uint8))
    with pytest.raises(InpaintError, match=f"m.png must have black and white pixels .*nothing is {fault}"):
        masks.read_mask(path, hole=hole)


def test_other_size_is_refused_unless_resizing_is_asked_for(tmp_path: Path):
    path = _save(tmp_path / "m.png", _half())
    with pytest.raises(InpaintError, match=r"m.png must be 16 x 12 pixels \(width x height\) as its image; got 8 x 6"):
        masks.read_mask(path, size=(12, 16))
    assert torch.equal(masks.read_mask(path, size=(6, 8)), masks.read_mask(path))
    resized = masks.read_mask(path, size=(12, 16), resize=True)
    assert torch.equal(resized[0, 0], torch.from_numpy(_half(12, 16) / 255).float())


@pytest.mark.parametrize(
    ("data", "fault"),
    [(None, "no such file"), (b"", "empty"), (b"text", "none of them"), (b"\x89PNG\r\n\x1a\n", "none of them|cut off")],
)
def test_bad_mask_file_is_one_sentence(tmp_path: Path, data: bytes | None, fault: str):
    if data is not None:
        (tmp_path / "m.png").write_bytes(data)
    with pytest.raises(InpaintError, match=f"m.png .*{fault}"):
        masks.read_mask(tmp_path / "m.png")


def test_unknown_polarity_is_refused(tmp_path: Path):
    with pytest.raises(InpaintError, match="hole must be one of white, black; got 'red'"):
        masks.read_mask(_save(tmp_path / "m.png", _half()), hole="red")


def test_write_mask_refuses_what_is_no_single_mask(tmp_path: Path):
    with pytest.raises(InpaintError, match="single mask"):
        masks.write_mask(tmp_path / "m.png", _make("box").repeat(2, 1, 1, 1))
    with pytest.raises(InpaintError, match="only 0"):
        masks.write_mask(tmp_path / "m.png", _make("box") * 0.5)
    assert not list(tmp_path.iterdir())


# --- measures ---


def test_resized_mask_never_turns_missing_into_known():
    mask = _make("scatter", 60, coverage=0.01)
    for size in (7, 16, 60):
        small = masks.resize_mask(mask, size)[0, 0]
        for y, x in mask[0, 0].nonzero().tolist():
            assert small[int((y + 0.5) * size / 60), int((x + 0.5) * size / 60)] == 1.0


def test_coverage_is_given_per_mask():
    batch = torch.cat([_make("left", coverage=0.25), _make("top", coverage=0.5)])
    assert masks.coverage(batch).tolist() == [0.25, 0.5]


@pytest.mark.parametrize("width", [1, 3, 40])
def test_border_band_equals_a_literal_search(width: int):
    mask = _make("strokes-thick", 20, coverage=0.2)
    kinds, band = mask[0, 0], masks.border_band(mask, width)[0, 0]
    for y in range(20):
        for x in range(20):
            window = kinds[max(y - width, 0) : y + width + 1, max(x - width, 0) : x + width + 1]
            assert band[y, x] == float((window != kinds[y, x]).any())


def test_border_band_needs_a_width():
    with pytest.raises(InpaintError, match="width must be at least 1"):
        masks.border_band(_make("box"), 0)


# --- shifts ---


@pytest.mark.parametrize(("dy", "dx"), [(0, 0), (2, 0), (0, 3), (-1, 2), (-4, -4)])
@pytest.mark.parametrize("repeat", [False, True])
def test_a_shifted_mask_equals_a_rolled_one_while_it_stays_inside(dy: int, dx: int, repeat: bool):
    mask = square_hole(2, 16)
    assert torch.equal(masks.shifted(mask, dy, dx, repeat=repeat), mask.roll((dy, dx), dims=(2, 3)))


@pytest.mark.parametrize(("dy", "dx", "lost"), [(5, 0, 8), (0, -6, 16), (15, 0, 64)])
def test_a_hole_must_stay_inside_when_it_moves(dy: int, dx: int, lost: int):
    with pytest.raises(InpaintError, match=f"mask must keep its hole inside .* take {lost} pixels out"):
        masks.shifted(square_hole(1, 16), dy, dx)


def test_a_border_that_is_repeated_comes_in_on_every_side():
    mask = torch.tensor([[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]]).view(1, 1, 2, 4)
    moved = {
        step: masks.shifted(mask, *step, repeat=True)[0, 0].tolist() for step in ((0, 2), (0, -3), (1, 0), (-1, 1))
    }
    assert moved[0, 2] == [[0, 0, 0, 1], [1, 1, 1, 0]]
    assert moved[0, -3] == [[0, 0, 0, 0], [0, 0, 0, 0]]
    assert moved[1, 0] == [[0, 1, 0, 0], [0, 1, 0, 0]]
    assert moved[-1, 1] == [[1, 1, 0, 0], [1, 1, 0, 0]]


@pytest.mark.parametrize("dtype", [torch.bool, torch.float64])
def test_a_shifted_mask_keeps_its_type(dtype: torch.dtype):
    for repeat in (False, True):
        moved = masks.shifted(square_hole(1, 16).to(dtype), 1, 2, repeat=repeat)
        assert moved.dtype == dtype and torch.equal(moved.float(), masks.shifted(square_hole(1, 16), 1, 2))


@pytest.mark.parametrize(
    ("dy", "dx", "message"),
    [(16, 0, "dy must be between -15 and 15; got 16"), (0, -16, "dx must be between"), (0.5, 0, "dy must be a whole")],
)
def test_wrong_shifts_are_refused(dy, dx, message: str):
    with pytest.raises(InpaintError, match=message):
        masks.shifted(square_hole(1, 16), dy, dx, repeat=True)
