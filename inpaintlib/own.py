"""Inpainting of a user's own picture (``make inpaint``): the search, and what the report says of it.

What the generator sees, and how its pictures go back into the photo, is :mod:`inpaintlib.framing`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from .attributes import load_classifier, parse_wishes
from .captions import neutral
from .clip import load_clip
from .features import Percept, lpips
from .figures import masked
from .framing import Problem
from .grid import Method, invert_all
from .images import at_once, write_image
from .invert import Inversion
from .losses import masked_lpips, masked_mse
from .record import Watch
from .store import Store
from .stylegan2 import Generator

__all__ = ["columns", "cut_out", "hidden_share", "histories", "reading", "row_labels", "scores", "search", "whole_hole",
           "wish_scores", "write"]  # fmt: skip


def search(generator: Generator, problem: Problem, p, *, store: Store | None = None, progress=None,
           watch: Watch | None = None) -> Inversion:  # fmt: skip
    """Returns ``p.samples`` inversions of the problem, best objective first; ``p``: the notebook's parameters.

    Where ``watch`` ends the search, samples that had not begun are left out.
    """
    n, size = p.samples, at_once(generator.img_resolution, p.samples)
    record = invert_all(generator, problem.target.expand(n, -1, -1, -1).contiguous(), problem.mask,
                        Method(p.objective(), p.search()), seeds=range(p.seed, p.seed + n), batch_size=size,
                        store=store, progress=progress, watch=watch)  # fmt: skip
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


def whole_hole(problems: Sequence[Problem]) -> Tensor:
    """Returns what is filled, (1, 1, H, W): all faces' holes."""
    return torch.stack([problem.hole for problem in problems]).amax(dim=0)


def hidden_share(problems: Sequence[Problem]) -> float:
    """Returns the fraction of the picture that the mask hides, with what of it is left unfilled."""
    rest = problems[0].rest
    return sum(float(hole.mean()) for hole in (*(p.hole for p in problems), *([] if rest is None else [rest])))


def row_labels(problems: Sequence[Problem]) -> list[str]:
    """Returns what the rows of :func:`columns` are."""
    faces = [""] if len(problems) == 1 else [f"face {i + 1}: " for i in range(len(problems))]
    return [face + row for face in faces for row in ("target, G(w)", "masked, inpainted")]


def columns(problems: Sequence[Problem], records: Sequence[Inversion], judged: pd.DataFrame) -> dict[str, Tensor]:
    """Returns title -> images for the figure of samples, at the generator's size; two rows a face: G(w), composite.

    A title tells the seed and what :func:`wish_scores` says of the sample; with several faces only its rank.
    """
    out = {"target": torch.cat([x for p in problems for x in (p.target, masked(p.target, p.mask))])}
    for i, seed in enumerate(records[0].seeds):
        told = [f"{name} {judged[name].iloc[i]:.2f}" for name in judged.columns]
        title = ", ".join([f"seed {seed}", *told]) if len(problems) == 1 else f"sample {i + 1}"
        out[title] = torch.cat([x[i : i + 1] for r in records for x in (r.image, r.composite)]).cpu()
    return out


def histories(records: Sequence[Inversion]) -> dict[str, pd.DataFrame]:
    """Returns name -> history of each face's search."""
    names = ["search"] if len(records) == 1 else [f"face {i + 1}" for i in range(len(records))]
    return {name: record.history for name, record in zip(names, records, strict=True)}


def wish_scores(records: Sequence[Inversion], attributes: str, prompt: str) -> pd.DataFrame:
    """Returns, of every sample's composite, how the judges see the wishes; a column a wish, none without.

    The samples stand face by face. A wish's column is the probability by ``attributes-judge`` that it is fulfilled; the
    prompt's is the cosine by ``clip-judge`` with it less that with a neutral caption. A prompt that the judge cannot
    read has no column.
    """
    images, table = torch.cat([record.composite.cpu() for record in records]).clamp(-1, 1), {}
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


def scores(problems: Sequence[Problem], records: Sequence[Inversion], judge: Percept) -> pd.DataFrame:
    """Returns face (1, 2, ..), seed, objective, known_mse and known_lpips (judge) of every sample, face by face."""
    tables = []
    for i, (problem, record) in enumerate(zip(problems, records, strict=True)):
        n = len(record.image)
        target, images = problem.target.expand(n, -1, -1, -1), record.image.cpu().clamp(-1, 1)
        with torch.no_grad():
            values = {"objective": record.loss, "known_mse": masked_mse(images, target, problem.mask),
                      "known_lpips": masked_lpips(judge, images, target, problem.mask)}  # fmt: skip
        numbers = {name: value.double().cpu().numpy() for name, value in values.items()}
        tables.append(pd.DataFrame({"face": i + 1, "seed": record.seeds, **numbers}))
    return pd.concat(tables, ignore_index=True)


def cut_out(problems: Sequence[Problem], alignment: str) -> str:
    """Returns what the report says of how the faces were cut out; nothing for the centred square and the whole."""
    if problems[0].square is None:
        return ""
    text = ""
    for i, problem in enumerate(problems):
        (x0, y0), (x1, y1) = problem.face.left_eye, problem.face.right_eye
        name = "The face" if len(problems) == 1 else f"Face {i + 1}"
        text += (
            f"{name} has its eyes at {x0:.0f},{y0:.0f} and {x1:.0f},{y1:.0f}; its square is"
            f" {problem.square.side:.0f} pixels wide. "
        )
    if (rest := problems[0].rest) is not None:
        text += (
            f"It alone was chosen: {int(rest.count_nonzero())} pixels of the mask lie beyond its square or belong to"
            " another face, and are left as they were in the picture. "
        )
    estimated = alignment == "ffhq" and any(problem.face.mouth is None for problem in problems)
    return text + "Where the mouth is was estimated from the eyes. " * estimated


def reading(problems: Sequence[Problem], records: Sequence[Inversion], judge: Percept, judged: pd.DataFrame,
            prompt: str, out: str, alignment: str) -> str:  # fmt: skip
    """Returns the report's closing sentences: what was hidden, where the picture is, what the judges see of the wishes
    (``judged``, of :func:`wish_scores`) or why they do not see the prompt, how the samples differ.
    """
    hidden, best = hidden_share(problems), _bests(records)
    text = f"The mask hides {hidden:.1%} of the picture. {cut_out(problems, alignment)}"
    text += f"The best sample{' of each face' if len(records) > 1 else ''} is in `{out}`."
    for name in judged.columns:
        what = "nearness to the prompt, as a difference of cosines," if name == "prompt" else f"probability of {name}"
        text += (
            f" The judge's {what} is {judged[name].iloc[best].mean():.2f} for the best sample and"
            f" {judged[name].mean():.2f} on average."
        )
    if prompt and (unknown := load_clip("clip-judge").unknown(prompt)):
        text += f" The prompt is not judged: `clip-judge` does not know {', '.join(unknown)}."
    apart = [d for problem, record in zip(problems, records, strict=True) for d in _apart(problem, record, judge)]
    if not apart:
        return text
    return text + f" Inside the hole two samples are {sum(apart) / len(apart):.3f} apart on average (judge LPIPS)."


def _bests(records: Sequence[Inversion]) -> list[int]:
    """The row of each face's best sample, its first, where the samples stand face by face."""
    return [sum(len(record.image) for record in records[:i]) for i in range(len(records))]


def _apart(problem: Problem, record: Inversion, judge: Percept) -> list[float]:
    """Hole LPIPS of every two samples."""
    images = record.composite.cpu().clamp(-1, 1)
    with torch.no_grad():
        return [float(lpips(judge, images[i : i + 1], images[j : j + 1], problem.mask))
                for i in range(len(images)) for j in range(i)]  # fmt: skip


def write(path: Path, picture: Tensor) -> None:
    """Writes a completion (1, 3, H, W) as a PNG, atomically; makes the folder if there is none."""
    write_image(path, picture)
