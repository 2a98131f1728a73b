"""Why one hole is filled differently each time: searches that differ in one source of chance, and their spread.

The sources are the random start, the noise inputs, the space, the learning rate, and a shift of the hole. A *face* is a
target; a *level* is one setting of a source (a seed, a space, a shift). All fillings are compared in the pixels
that every mask hides. Baselines: the holes of other faces in place of fillings (the most that can be expected), and
fresh noise inputs under a code that is kept (the least).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from .checks import InpaintError, check_integer
from .experiments import random_ws
from .grid import Method, Progress, compare
from .losses import Objective, masked_mse
from .masks import shifted
from .probes import fresh_noise
from .record import render
from .search import SPACES, Search
from .store import Store
from .stylegan2 import Generator

__all__ = ["BOTH", "CROSSED", "FACES", "Fillings", "KEPT", "LONG", "MASK", "NOISE", "RATE", "SPACE", "baselines",
           "common", "fill", "shifted_holes", "start"]  # fmt: skip

NOISE, BOTH, LONG = "noise inputs", "start and noise inputs", "start, W, more steps"
MASK, RATE, SPACE, CROSSED = "shifted hole", "learning rate", "W or W+", "start and shifted hole"
KEPT, FACES = "noise inputs, code kept", "different faces"
BASE = "base"  # from the mean code, which is the first level of MASK, RATE and SPACE


class Fillings(NamedTuple):
    """Fillings of F faces at L levels.

    Attributes:
        image: (F, L, 3, R, R), G(w), clamped to [-1, 1].
        known: (F, L), root mean squared error of G(w) on the known pixels of its own mask.
        code: (F, L, num_ws, w_dim).
    """

    image: Tensor
    known: Tensor
    code: Tensor


def start(space: str) -> str:
    """Returns the name of the fillings from random starts in a space."""
    return f"start, {space.upper()}"


def shifted_holes(mask: Tensor, shifts: Sequence[int]) -> Tensor:
    """Returns the mask (1, 1, R, R), then moved to the right by each of ``shifts`` px, (1 + len(shifts), 1, R, R).

    What enters at the left is like the leftmost column.
    """
    for shift in shifts:
        check_integer("each of shifts", shift, low=1, high=mask.shape[3] - 1)
    return torch.cat([mask, *(shifted(mask, 0, shift, repeat=True) for shift in shifts)])


def common(holes: Tensor) -> Tensor:
    """Returns the pixels that all of several masks (J, 1, R, R) hide, (1, 1, R, R): where fillings are compared."""
    hole = holes.amin(dim=0, keepdim=True)
    if not hole.any():
        raise InpaintError(f"the {len(holes)} masks must hide a pixel in common; lower the shifts")
    return hole


def fill(generator: Generator, target: Tensor, holes: Tensor, objective: Objective, search: Search, *,
         samples: int, crossed: int, rate: float, steps_long: int, seed: int, batch_size: int,
         store: Store | None = None, progress: Progress | None = None) -> dict[str, Fillings]:  # fmt: skip
    """Returns source -> fillings of all faces, searched from random starts, and one thing changed at a time.

    Seed s of face f gives the same start in every space, and the same in all searches with a random start.
    ``start`` in every space, NOISE, BOTH and LONG have ``samples`` levels; from the mean code, MASK has a level a hole,
    RATE and SPACE two; CROSSED has ``crossed`` starts under every hole, starts first.

    Args:
        target: (F, 3, R, R).
        holes: masks of :func:`shifted_holes`.
        search: from ``w_avg`` in ``w`` or ``w+`` with constant noise; the variants follow.
        samples: seeds of a face, at least 3.
        crossed: how many of them are searched under every hole, at least 2.
        rate: the other learning rate, as a fraction of the search's.
        steps_long: of LONG, which tells whether fillings still differ when the search has come further.

    Raises:
        InpaintError: for another search, more ``crossed`` starts than samples, a single hole.
    """
    _check(search, holes, samples, crossed)
    n, moved = len(target), holes[1:]
    seeds = torch.arange(n * samples).view(n, samples) + seed
    fixed = {"batch_size": batch_size, "store": store, "progress": progress}

    def run(methods: Mapping[str, Search], seeds: Tensor, masks: Tensor) -> dict[str, Fillings]:
        """Every face with its seeds (F, S) under each of the masks, seeds first."""
        image = target.repeat_interleave(seeds.shape[1] * len(masks), dim=0)
        mask = masks.to(target).repeat(seeds.numel(), 1, 1, 1)
        chosen = seeds.flatten().repeat_interleave(len(masks)).tolist()
        searches = {name: Method(objective, each) for name, each in methods.items()}
        records = compare(generator, image, mask, searches, seeds=chosen, **fixed)
        return {name: _folded(record.image, record.w, image, mask, n) for name, record in records.items()}

    random = replace(search, start="random")
    many = {start(space): replace(random, space=space) for space in SPACES}
    many |= {NOISE: replace(search, noise="random"), BOTH: replace(random, noise="random")}
    many[LONG] = replace(random, space="w", steps=steps_long)
    single = {BASE: search, RATE: replace(search, learning_rate=rate * search.learning_rate)}
    single[SPACE] = replace(search, space="w" if search.space == "w+" else "w+")
    out = run(many, seeds, holes[:1]) | run(single, seeds[:, :1], holes[:1])
    out |= run({MASK: search}, seeds[:, :1], moved) | run({CROSSED: random}, seeds[:, :crossed], moved)
    base = out.pop(BASE)
    out |= {name: _joined(base, out[name]) for name in (MASK, RATE, SPACE)}
    first = Fillings(*(x[:, :crossed, None] for x in out[start(search.space)]))
    rest = Fillings(*(x.unflatten(1, (crossed, len(moved))) for x in out[CROSSED]))
    out[CROSSED] = Fillings(*(torch.cat(pair, dim=2).flatten(1, 2) for pair in zip(first, rest, strict=True)))
    return out


def _check(search: Search, holes: Tensor, samples: int, crossed: int) -> None:
    if search.start != "w_avg" or search.noise != "const" or search.space == "z":
        raise InpaintError(
            "search must start at 'w_avg' in space 'w' or 'w+' with 'const' noise, for the variants change one thing "
            f"each; got {search.start!r}, {search.space!r}, {search.noise!r}"
        )
    check_integer("samples", samples, low=3)
    check_integer("crossed", crossed, low=2, high=samples)
    if len(holes) < 2:
        raise InpaintError(f"holes must be the mask and at least one shifted; got {len(holes)}")


def _joined(a: Fillings, b: Fillings) -> Fillings:
    return Fillings(*(torch.cat(pair, dim=1) for pair in zip(a, b, strict=True)))


def _folded(image: Tensor, code: Tensor, target: Tensor, mask: Tensor, faces: int) -> Fillings:
    known = masked_mse(image, target, mask).sqrt()
    return Fillings(*(x.unflatten(0, (faces, -1)) for x in (image.clamp(-1, 1), known, code)))


def baselines(generator: Generator, target: Tensor, mask: Tensor, found: Mapping[str, Fillings], *,
              seed: int) -> dict[str, Fillings]:  # fmt: skip
    """Returns KEPT and FACES, each with as many levels as NOISE.

    KEPT is what the search from the mean code found, under the noise inputs that the searches of NOISE had; FACES are
    random faces, other than ``experiments.generated_faces(generator, F, seed=seed)``.
    """
    faces, samples = found[NOISE].known.shape
    n = faces * samples
    noise = fresh_noise(generator, n, seed)
    codes = found[MASK].code[:, 0].repeat_interleave(samples, dim=0)
    others = random_ws(generator, n, seed=seed + faces).to(codes)
    image = target.repeat_interleave(samples, dim=0)
    pictures = {KEPT: (render(generator, codes, noise), codes), FACES: (render(generator, others, "const"), others)}
    return {name: _folded(*pair, image, mask.to(target), faces) for name, pair in pictures.items()}
