"""The command that trains the embedded generator (``make train-faces64``).

A run is resumed from the checkpoint in its folder, or from shipped weights alone (``--start``); with
``--kid`` it draws the curve of KID, with ``--export`` it ends by writing the weights. The defaults suit two
CPU cores. A GPU wants a larger network and batch::

    python -m inpaintlib.train.faces64 --data FOLDER --out runs/faces64 --minutes 30 --kid --export faces64 \\
        --channel-base 4096 --channel-max 256 --batch 128 --learning-rate 0.003 --every 100000

``python -m inpaintlib.train.card`` then ships the weights with their card.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from pathlib import Path

import torch
from torch import Tensor

from ..checks import InpaintError, check_integer
from ..data import load_celeba
from ..images import from_levels, sheet, write_image
from ..weights import load_weights
from .gan import GanTraining, Settings

__all__ = ["main", "train"]


def _log(run: GanTraining, path: Path, since: float, images: int, iterations: int) -> None:
    """Appends a row to ``log.csv`` and prints it; ``images`` and ``iterations`` since the last row."""
    row = {"images": run.images_seen, "minutes": run.seconds / 60, "images_per_second": images / since, "p": run.ada.p}
    row |= {k: float(v) / iterations for k, v in run.sums.items()}
    for total in run.sums.values():
        total.zero_()
    _append(path, row)


def _append(path: Path, row: dict[str, float]) -> None:
    """Adds a row to a CSV file, with a header if it is new, and prints it."""
    if not path.exists():
        path.write_text(",".join(row) + "\n")
    with path.open("a") as f:
        f.write(",".join(f"{v:.6g}" for v in row.values()) + "\n")
    print("  ".join(f"{k} {v:.4g}" for k, v in row.items()), flush=True)


def train(run: GanTraining, out: Path, *, seconds: float, max_images: int, every: int, held_out: Tensor | None) -> None:
    """Runs until the time or the images are used up; logs, saves, draws samples and KID every ``every`` images."""
    started = marked = time.perf_counter()
    before, images0, iteration0 = run.seconds, run.images_seen, run.iteration
    while time.perf_counter() - started < seconds and run.images_seen < max_images:
        run.step()
        if run.images_seen // every > (run.images_seen - run.settings.batch) // every:
            now = time.perf_counter()
            run.seconds = before + now - started
            _log(run, out / "log.csv", now - marked, run.images_seen - images0, run.iteration - iteration0)
            snapshot(run, out, held_out)
            marked, images0, iteration0 = time.perf_counter(), run.images_seen, run.iteration
    if run.images_seen > images0 or run.iteration == 0:  # else the last snapshot holds this very state
        run.seconds = before + time.perf_counter() - started
        snapshot(run, out, held_out)


def snapshot(run: GanTraining, out: Path, held_out: Tensor | None) -> None:
    """Writes the checkpoint, a sheet of samples and, with held-out images (uint8), the KID curve so far."""
    run.save(out / "checkpoint.pt")
    write_image(out / f"samples-{run.images_seen:08d}.png", sheet(run.samples(64), 8))
    if held_out is None:
        return
    # Scores and plots need packages that a training machine may lack, and that a run without --kid does not use.
    import pandas as pd

    from ..figures import training_curve
    from ..sets import kid

    score = kid(run.samples(len(held_out), seed=1), from_levels(held_out), device=run.device)
    _append(out / "kid.csv", {"images": run.images_seen, "kid": score.value, "low": score.low, "high": score.high})
    training_curve(pd.read_csv(out / "kid.csv")).savefig(out / "kid.png", dpi=120)


def _settings(args: argparse.Namespace) -> Settings:
    """Returns the settings of the command line; with ``--start`` the network is that of the weights."""
    values = {f.name: getattr(args, f.name) for f in dataclasses.fields(Settings)}
    if args.start:
        config = json.loads(load_weights(args.start[0])[1].get("config", "{}"))
        config["resolution"] = config.get("img_resolution", values["resolution"])
        values |= {k: config[k] for k in values.keys() & config.keys()}
    return Settings(**values)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m inpaintlib.train.faces64", description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True, help="folder with CelebA (see inpaintlib.data)")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run: checkpoint, log, samples")
    parser.add_argument("--minutes", type=float, required=True, help="wall-clock budget of this call")
    parser.add_argument("--max-images", type=int, default=10**9, help="stop after this many images in all")
    parser.add_argument("--every", type=int, default=10_000, help="images between log rows, checkpoints, samples")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--start", nargs=2, metavar=("G", "D"), help="begin from these weights (names or files)")
    parser.add_argument("--limit", type=int, help="use only the first LIMIT training images")
    parser.add_argument("--export", metavar="NAME", help="write NAME.safetensors and its discriminator at the end")
    parser.add_argument("--kid", action="store_true", help="score samples in percept-judge features at each snapshot")
    for field in dataclasses.fields(Settings):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=type(field.default), default=field.default)
    args = parser.parse_args(argv)
    try:
        check_integer("--every", args.every, low=1)
        if args.limit is not None:
            check_integer("--limit", args.limit, low=1)
        settings = _settings(args)
        images = load_celeba(args.data, size=settings.resolution).images[: args.limit]
        held_out = load_celeba(args.data, "val", size=settings.resolution).images if args.kid else None
        run = GanTraining(settings, images, args.device)
        args.out.mkdir(parents=True, exist_ok=True)
        if (args.out / "checkpoint.pt").exists():
            run.resume(args.out / "checkpoint.pt")
        elif args.start:
            run.start_from(*args.start)
        train(run, args.out, seconds=60 * args.minutes, max_images=args.max_images, every=args.every, held_out=held_out)
        if args.export:
            run.export(args.out, args.export)
    except (InpaintError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
