"""Ships trained weights: copies them into the package, records their checksum, writes their model card.

``python -m inpaintlib.train.card runs/faces64/faces64.safetensors ... --data FOLDER`` after a training. The folder
of CelebA is for a generator's card: its numbers are computed here, those of other cards were stored by the training.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import torch
from torch import Tensor

from ..checks import InpaintError
from ..data import load_celeba
from ..experiments import generated_faces
from ..files import write_atomically
from ..images import from_levels, sheet, write_image
from ..metrics import Interval
from ..sets import kid
from ..weights import MODELS, checksum, load_generator, load_weights, shipped_names
from . import cards

__all__ = ["main", "nearest", "ship"]

PREVIEW_BELOW = 1_000_000  # images seen; the aim is 2 million
SAMPLES = 500


def ship(path: Path) -> str:
    """Copies a weights file into the package, records its SHA-256, and returns its name.

    Raises InpaintError if it is no file of finite weights.
    """
    load_weights(path)
    name = path.stem
    target = MODELS / f"{name}.safetensors"
    if path.resolve() != target.resolve():
        write_atomically(target, path.read_bytes())
    names = {**shipped_names(), name: checksum(target)}
    write_atomically(MODELS / "checksums.json", (json.dumps(names, indent=2, sort_keys=True) + "\n").encode())
    return name


def nearest(samples: Tensor, training: Tensor, *, batch: int = 500) -> Tensor:
    """Returns each sample's smallest root-mean-square distance to a training image or its mirror image, (N,).

    Args:
        samples: (N, 3, R, R) in [-1, 1].
        training: uint8 (T, 3, R, R).
    """
    flat = samples.flatten(1)
    best = torch.full((len(samples),), float("inf"))
    for part in training.split(batch):
        x = from_levels(part)
        for view in (x, x.flip(3)):
            best = torch.minimum(best, torch.cdist(flat, view.flatten(1)).min(dim=1).values)
    return best / flat.shape[1] ** 0.5


def generator_card(name: str, data: Path) -> str:
    """Returns the card of a generator and its discriminator; writes its sheet of samples."""
    facts = cards.facts_of(name)
    generator, train, held_out = load_generator(name), load_celeba(data).images, load_celeba(data, "val").images
    faces = generated_faces(generator, SAMPLES, seed=0)
    write_image(MODELS / f"{name}-samples.png", sheet(faces[:64], 8))
    reference = from_levels(held_out)
    rng = torch.Generator().manual_seed(0)
    some = train[torch.randperm(len(train), generator=rng)[: len(held_out)]]
    scores: dict[str, Interval] = {
        "generated against held-out faces": kid(faces, reference),
        "training against held-out faces (the best there is)": kid(from_levels(some), reference),
        "uniform grey against held-out faces (a floor)": kid(torch.zeros_like(reference), reference),
    }
    near, between = nearest(faces[:64], train), nearest(from_levels(held_out[:64]), train)
    seen, settings = int(facts["images_seen"]), json.loads(facts["settings"])
    preview = seen < PREVIEW_BELOW
    ada = f"towards r_t = {settings['ada_target']}" if settings["ada_target"] < 1 else (
        f"off (target r_t = 1): each training face was seen only {seen / len(train):.0f} times"
    )  # fmt: skip
    rows = {
        "status": f"**preview**: {seen:,} images seen, 2,000,000 aimed at" if preview else "final",
        "networks": f"`{name}.safetensors` (averaged generator), `{name}-discriminator.safetensors`; float16",
        "SHA-256": f"`{shipped_names()[name]}`, `{shipped_names()[f'{name}-discriminator']}`",
        "generator": f"`{facts['config']}`", "training": f"`{facts['settings']}`",
        "adaptive augmentation": ada,
        "images seen": f"{seen:,}", "hardware, time": cards.hardware(facts),
    }  # fmt: skip
    quality = {k: f"{v.value:.4f} [{v.low:.4f}, {v.high:.4f}]" for k, v in scores.items()}
    text = f"""# {name}

64 px faces: StyleGAN2 generator of the skip architecture with a residual discriminator, trained with
non-saturating loss, lazy R1 and x-flips (`make train-faces64`). `{name}-samples.png` shows random samples.

| | |
|---|---|
{cards.lines(rows)}

## Quality

Kernel distance (KID, {SAMPLES} images a side) in the features of `percept-judge`, and in brackets its 95 % interval
(from random halves). It compares only with numbers of the same features, not with published Inception KID.

| | KID |
|---|---|
{cards.lines(quality)}

Does it copy? Root-mean-square distance to the nearest of the {len(train):,} training faces or its mirror image, on
[-1, 1]: 64 samples {near.min():.3f} at least, {near.median():.3f} in the median; 64 held-out faces
{between.min():.3f} and {between.median():.3f}. Samples much nearer than held-out faces are would be copies.

{cards.TERMS.format(data="Trained on 9,000 aligned CelebA faces (000001 to 009000), centred square, 64 px.")}

## Limits

Celebrities, mostly young, light-skinned and smiling: neither representative nor fair. Some samples are
distorted{"; as a preview all are blurry, which more training mends" if preview else ""}.
"""
    return text


def _is_generator(path: Path) -> bool:
    return cards.kind(path.stem) == "generator"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m inpaintlib.train.card", description=__doc__.split("\n")[0])
    parser.add_argument("weights", type=Path, nargs="+", help="safetensors files that a training wrote")
    parser.add_argument("--data", type=Path, help="folder with CelebA, for a generator's card")
    args = parser.parse_args(argv)
    try:
        if args.data is None and any(map(_is_generator, args.weights)):
            raise InpaintError("--data must name the folder with CelebA for the card of a generator; it is not given")
        for path in args.weights:
            cards.check(path)
        names = [ship(path) for path in args.weights]
        for name in names:
            if name.endswith("-discriminator"):
                continue
            own = cards.CARDS.get(cards.kind(name))
            text = own(name) if own else generator_card(name, args.data)
            write_atomically(MODELS / f"{name}.md", text.encode())
            print(f"shipped {name}")
    except InpaintError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
