"""Inpainting of a user's own picture (``make inpaint``).

The picture's centred square, or the whole picture, is resized to the generator's resolution; the hole of
G(w) is resized back and pasted. A pixel of the small mask is a hole if it covers any part of the hole, and
a known pixel of the small target averages known pixels only: nothing of what lies under the mask, and
nothing put in its place, can leak into what the search sees.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from .attributes import load_classifier, parse_wishes
from .captions import neutral
from .checks import InpaintError, check_choice, check_image, check_mask
from .clip import load_clip
from .features import Percept, lpips
from .figures import masked
from .grid import Method, invert_all
from .images import composite, crop, paste_back, read_image, resize, square_box, write_image
from .invert import Inversion
from .losses import masked_lpips, masked_mse
from .masks import read_mask, resize_mask
from .store import Store
from .stylegan2 import Generator

__all__ = ["Problem", "columns", "completion", "prepare", "read", "reading", "scores", "search",
           "wish_scores", "write"]  # fmt: skip

CROPS = ("square", "whole")


class Problem(NamedTuple):
    """A picture with its hole, at full size and at the generator's."""

    photo: Tensor  # (1, 3, H, W)
    hole: Tensor  # (1, 1, H, W)
    box: tuple[int, int, int] | None  # top, left, side of the square, None = the whole picture
    target: Tensor  # (1, 3, R, R)
    mask: Tensor  # (1, 1, R, R)


def read(image: Path, mask: Path, *, size: int, crop: str, resize_mask: bool, threshold: bool) -> Problem:
    """Returns the problem of two files; arguments as :func:`prepare` and :func:`inpaintlib.masks.read_mask`.

    Raises InpaintError if a file is unusable, their sizes differ (unless ``resize_mask``), or see :func:`prepare`.
    """
    photo = read_image(image)
    hole = read_mask(mask, size=tuple(photo.shape[2:]), resize=resize_mask, threshold=threshold)
    return prepare(photo, hole, size=size, crop_to=crop)


def prepare(photo: Tensor, hole: Tensor, *, size: int, crop_to: str = "square") -> Problem:
    """Returns the problem at both sizes.

    Args:
        photo, hole: (1, 3, H, W) in [-1, 1] and (1, 1, H, W), 1 = hole.
        size: R, the generator's resolution.
        crop_to: ``square`` (the centred square) or ``whole`` (the picture squeezed to a square).

    Raises:
        InpaintError: for unfit shapes or ranges, or if the hole reaches beyond the square, or leaves nothing
            known at the generator's size.
    """
    check_choice("crop", crop_to, CROPS)
    check_image("photo", photo)
    check_mask("hole", hole, like=photo)
    box = square_box(*photo.shape[2:]) if crop_to == "square" else None
    part, part_hole = (photo, hole) if box is None else (crop(photo, box), crop(hole, box))
    beyond = int(hole.count_nonzero() - part_hole.count_nonzero())
    if beyond:
        raise InpaintError(
            f"the mask reaches {beyond} pixels beyond the picture's centred square {box} (top, left, side); cut the"
            " picture, or use crop = whole"
        )
    small_hole = resize_mask(part_hole, size)
    if bool((small_hole == 1).all()):
        raise InpaintError(f"the mask hides every one of the {size} x {size} pixels that the generator sees; hide less")
    return Problem(photo, hole, box, _known_average(part, 1 - part_hole, size), small_hole)


def _known_average(part: Tensor, known: Tensor, size: int) -> Tensor:
    """Resizes to ``size``, averaging known pixels only; their mean over the picture where there are none."""
    # Linear and antialiased: the weights are not negative, so the division below is an average.
    shrink = lambda x: F.interpolate(x, (size, size), mode="bilinear", antialias=True)  # noqa: E731
    share, mean = shrink(known), (part * known).sum(dim=(2, 3), keepdim=True) / known.sum()
    return torch.where(share > 1e-3, shrink(part * known) / share.clamp_min(1e-3), mean).clamp(-1, 1)


def search(generator: Generator, problem: Problem, p, *, store: Store | None = None, progress=None) -> Inversion:
    """Returns ``p.samples`` inversions of the problem, best objective first; ``p``: the notebook's parameters."""
    n = p.samples
    record = invert_all(generator, problem.target.expand(n, -1, -1, -1).contiguous(), problem.mask,
                        Method(p.objective(), p.search()), seeds=range(p.seed, p.seed + n), batch_size=n,
                        store=store, progress=progress)  # fmt: skip
    return sorted_by_loss(record)


def sorted_by_loss(record: Inversion) -> Inversion:
    """Returns the record with its items in the order of their objective; history keeps the same numbering."""
    order = record.loss.argsort(stable=True)
    rank = {int(item): i for i, item in enumerate(order)}
    noise = record.noise if isinstance(record.noise, str) else [m[order] for m in record.noise]
    return replace(
        record, w=record.w[order], z=None if record.z is None else record.z[order], noise=noise,
        image=record.image[order], composite=record.composite[order], loss=record.loss[order],
        seeds=[record.seeds[int(i)] for i in order],
        history=record.history.assign(item=record.history["item"].map(rank)).sort_values(["item", "step"]),
    )  # fmt: skip


def completion(problem: Problem, image: Tensor) -> Tensor:
    """Returns the picture, (1, 3, H, W), its hole filled from G(w) (1, 3, R, R); known pixels are its own."""
    patch = image.cpu().clamp(-1, 1)
    if problem.box is None:
        return composite(problem.photo, resize(patch, tuple(problem.photo.shape[2:])), problem.hole)
    return paste_back(problem.photo, problem.hole, patch, problem.box)


def columns(problem: Problem, record: Inversion, judged: pd.DataFrame) -> dict[str, Tensor]:
    """Returns title -> images for the figure of samples, at the generator's size; two rows: G(w), composite.

    A title tells the seed and what :func:`wish_scores` says of the sample.
    """
    shown = masked(problem.target, problem.mask)
    out = {"target": torch.cat([problem.target, shown])}
    for i, seed in enumerate(record.seeds):
        told = [f"{name} {judged[name].iloc[i]:.2f}" for name in judged.columns]
        out[", ".join([f"seed {seed}", *told])] = torch.cat(
            [record.image[i : i + 1], record.composite[i : i + 1]]
        ).cpu()
    return out


def wish_scores(record: Inversion, attributes: str, prompt: str) -> pd.DataFrame:
    """Returns, of every sample's composite, how the judges see the wishes; a column a wish, none without.

    A wish's column is the probability by ``attributes-judge`` that it is fulfilled; the prompt's is the cosine by
    ``clip-judge`` with it less that with a neutral caption. A prompt that the judge cannot read has no column.
    """
    images, table = record.composite.cpu().clamp(-1, 1), {}
    with torch.no_grad():
        if attributes:
            judge = load_classifier("attributes-judge")
            probability = torch.sigmoid(judge(images))
            for wish in parse_wishes(attributes):
                p = probability[:, judge.index(wish.attribute)]
                table[str(wish)] = (p if wish.wanted else 1 - p).double().numpy()
        clip = load_clip("clip-judge") if prompt else None
        if clip is not None and not clip.unknown(prompt):
            pictures, goal, rest = clip.embed_images(images), clip.embed_texts([prompt]), clip.embed_texts(neutral())
            table["prompt"] = (pictures @ (goal.mean(0) - rest.mean(0))).double().numpy()
    return pd.DataFrame(table, index=range(len(images)))


def scores(problem: Problem, record: Inversion, judge: Percept) -> pd.DataFrame:
    """Returns seed, objective, known_mse and known_lpips (judge) of every sample."""
    n = len(record.image)
    target, images = problem.target.expand(n, -1, -1, -1), record.image.cpu().clamp(-1, 1)
    with torch.no_grad():
        values = {"objective": record.loss, "known_mse": masked_mse(images, target, problem.mask),
                  "known_lpips": masked_lpips(judge, images, target, problem.mask)}  # fmt: skip
    return pd.DataFrame({"seed": record.seeds, **{k: v.double().cpu().numpy() for k, v in values.items()}})


def reading(problem: Problem, record: Inversion, judge: Percept, judged: pd.DataFrame, prompt: str, out: str) -> str:
    """Returns the report's closing sentences: what was hidden, where the picture is, what the judges see of the wishes
    (``judged``, of :func:`wish_scores`) or why they do not see the prompt, how the samples differ.
    """
    hidden = float(problem.hole.mean())
    text = f"The mask hides {hidden:.1%} of the picture. The best sample is in `{out}`."
    for name in judged.columns:
        best, mean = judged[name].iloc[0], judged[name].mean()
        what = "nearness to the prompt, as a difference of cosines," if name == "prompt" else f"probability of {name}"
        text += f" The judge's {what} is {best:.2f} for the best sample and {mean:.2f} on average."
    if prompt and (unknown := load_clip("clip-judge").unknown(prompt)):
        text += f" The prompt is not judged: `clip-judge` does not know {', '.join(unknown)}."
    images = record.composite.cpu().clamp(-1, 1)
    if len(images) < 2:
        return text
    with torch.no_grad():
        apart = [float(lpips(judge, images[i : i + 1], images[j : j + 1], problem.mask))
                 for i in range(len(images)) for j in range(i)]  # fmt: skip
    return text + f" Inside the hole two samples are {sum(apart) / len(apart):.3f} apart on average (judge LPIPS)."


def write(path: Path, picture: Tensor) -> None:
    """Writes a completion (1, 3, H, W) as a PNG, atomically; makes the folder if there is none."""
    write_image(path, picture)
