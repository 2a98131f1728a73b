"""Readers of the training images, on pictures made here; with the real files where they are at hand."""

import io
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from inpaintlib import data
from inpaintlib.checks import InpaintError
from inpaintlib.data import load_celeba, load_cifar10

NAMES = ("Bald", "Smiling", "Young")


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def encoded_pictures(n: int, height: int, width: int) -> list[bytes]:
    levels = np.random.default_rng(0).integers(0, 256, (n, height, width, 3), dtype=np.uint8)
    return [png(picture) for picture in levels]


def write_parquet(path: Path, encoded: list[bytes], columns: dict) -> None:
    rows = [{"bytes": b, "path": f"{i}.png"} for i, b in enumerate(encoded)]
    pyarrow.parquet.write_table(pyarrow.table({"image": rows} | columns), path)


def write_celeba_parquet(folder: Path, encoded: list[bytes], labels: np.ndarray, split: str = "train") -> None:
    columns = {name: labels[:, i] for i, name in enumerate(NAMES)}
    write_parquet(folder / f"celeba_{split}.parquet", encoded, columns)


def write_official_celeba(folder: Path, encoded: list[bytes], labels: np.ndarray, first: int = 0) -> None:
    """Writes the official layout; rows before ``first`` are listed, and their pictures are not there."""
    (folder / "img_align_celeba").mkdir()
    labels = np.concatenate([np.zeros((first, len(NAMES)), dtype=bool), labels])
    rows = [f"{i:06d}.png " + " ".join("1" if v else "-1" for v in row) for i, row in enumerate(labels, start=1)]
    (folder / "list_attr_celeba.txt").write_text("\n".join([str(len(rows)), " ".join(NAMES), *rows]) + "\n")
    for i, content in enumerate(encoded, start=first + 1):
        (folder / "img_align_celeba" / f"{i:06d}.png").write_bytes(content)


LABELS = np.array([[True, False, True], [False, False, True], [True, True, False]])


@pytest.mark.parametrize(("split", "first"), [("train", 0), ("val", 9000)])
def test_both_celeba_layouts_give_the_same_tensors(tmp_path, split, first):
    for name in ("parquet", "official"):
        (tmp_path / name).mkdir()
    encoded = encoded_pictures(3, 21, 17)
    write_celeba_parquet(tmp_path / "parquet", encoded, LABELS, split)
    write_official_celeba(tmp_path / "official", encoded, LABELS, first)
    one, other = (load_celeba(tmp_path / name, split, size=8) for name in ("parquet", "official"))
    assert one.names == other.names == NAMES
    assert torch.equal(one.images, other.images) and one.images.shape == (3, 3, 8, 8)
    assert torch.equal(one.labels, other.labels) and one.labels.tolist() == LABELS.tolist()


def test_celeba_takes_the_centred_square(tmp_path):
    levels = np.zeros((12, 8, 3), dtype=np.uint8)
    levels[2:10, :, 0] = 200  # the centred 8 x 8 square is red, the rest is black
    write_celeba_parquet(tmp_path, [png(levels)], LABELS[:1])
    image = load_celeba(tmp_path, size=8).images[0]
    assert (image[0] == 200).all() and (image[1:] == 0).all()


def test_resizing_filters_instead_of_dropping_pixels(tmp_path):
    stripes = np.zeros((64, 64, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    write_celeba_parquet(tmp_path, [png(stripes)], LABELS[:1])
    inner = load_celeba(tmp_path, size=8).images[0, :, :, 1:-1].float()
    assert (inner - 127.5).abs().max() <= 2


def test_grey_pictures_become_three_equal_channels(tmp_path):
    levels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    write_celeba_parquet(tmp_path, [png(levels)], LABELS[:1])
    image = load_celeba(tmp_path, size=8).images[0]
    assert torch.equal(image, torch.from_numpy(levels).expand(3, 8, 8))


def test_cifar_parquet_keeps_pixels_and_classes(tmp_path):
    encoded = encoded_pictures(4, 32, 32)
    write_parquet(tmp_path / "cifar10_test.parquet", encoded, {"label": np.array([3, 0, 9, 1], dtype=np.int8)})
    cifar = load_cifar10(tmp_path, "test")
    assert cifar.labels.tolist() == [3, 0, 9, 1]
    assert len(cifar.names) == 10
    for image, content in zip(cifar.images, encoded, strict=True):
        np.testing.assert_array_equal(image.permute(1, 2, 0), np.asarray(Image.open(io.BytesIO(content))))


# What is wrong ---------------------------------------------------------------------------------------


def test_folder_without_data_is_named(tmp_path):
    with pytest.raises(InpaintError, match=r"must hold celeba_train.parquet or img_align_celeba/; it holds neither"):
        load_celeba(tmp_path)
    with pytest.raises(InpaintError, match=r"must hold cifar10_test.parquet or cifar-10-batches-py/"):
        load_cifar10(tmp_path, "test")


def test_unknown_split_is_refused(tmp_path):
    with pytest.raises(InpaintError, match="split must be one of train, val; got 'test'"):
        load_celeba(tmp_path, "test")
    with pytest.raises(InpaintError, match="split must be one of train, test; got 'val'"):
        load_cifar10(tmp_path, "val")


def test_official_layout_without_its_list_is_refused(tmp_path):
    (tmp_path / "img_align_celeba").mkdir()
    with pytest.raises(InpaintError, match="list_attr_celeba.txt is missing"):
        load_celeba(tmp_path)


def test_listed_picture_that_is_not_there_is_named(tmp_path):
    write_official_celeba(tmp_path, encoded_pictures(2, 8, 8), LABELS)
    with pytest.raises(InpaintError, match="000003.png must be a picture; it cannot be read"):
        load_celeba(tmp_path, size=8)


@pytest.mark.parametrize("damage", [lambda b: b[: len(b) // 2], lambda b: b"", lambda b: b"text"])
def test_damaged_picture_is_named_by_its_row(tmp_path, damage):
    good, bad = encoded_pictures(2, 8, 8)
    write_celeba_parquet(tmp_path, [good, damage(bad)], LABELS[:2])
    with pytest.raises(InpaintError, match="row 1 must be a picture; it cannot be read"):
        load_celeba(tmp_path, size=8)


@pytest.mark.parametrize("content", [b"", b"not a parquet file at all"])
def test_damaged_parquet_is_named(tmp_path, content):
    (tmp_path / "celeba_train.parquet").write_bytes(content)
    with pytest.raises(InpaintError, match="celeba_train.parquet must be a Parquet file; it cannot be read"):
        load_celeba(tmp_path)


def test_data_folder_is_what_the_variable_names(tmp_path, monkeypatch):
    monkeypatch.setenv("INPAINTLIB_DATA", str(tmp_path))
    assert data.data_folder() == tmp_path
    for unset in ("", None):
        monkeypatch.delenv("INPAINTLIB_DATA") if unset is None else monkeypatch.setenv("INPAINTLIB_DATA", unset)
        assert data.data_folder() is None


def test_data_folder_that_is_none_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("INPAINTLIB_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(InpaintError, match="INPAINTLIB_DATA must name a folder; '.*nowhere' is none"):
        data.data_folder()


# The real files --------------------------------------------------------------------------------------


@pytest.mark.data
def test_celeba_val_are_faces_with_forty_attributes(data_folder):
    faces = load_celeba(data_folder, "val", size=16)
    assert faces.images.shape == (500, 3, 16, 16)
    assert faces.labels.shape == (500, 40)
    # Centred faces: on average the middle is redder than green, and greener than blue.
    mean = faces.images.float().mean(dim=0)[:, 4:12, 4:12].mean(dim=(1, 2))
    assert mean[0] > mean[1] > mean[2]
    share = dict(zip(faces.names, faces.labels.float().mean(dim=0).tolist(), strict=True))
    assert share["Bald"] < 0.1 < share["Smiling"] < 0.9
    assert share["Young"] > 0.6


@pytest.mark.data
def test_cifar_test_has_a_thousand_of_each_class(data_folder):
    cifar = load_cifar10(data_folder, "test")
    assert cifar.images.shape == (10_000, 3, 32, 32)
    assert cifar.labels.bincount().tolist() == [1000] * 10
