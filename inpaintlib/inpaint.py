"""The verb ``inpaint`` of the command line: checks what is asked for, runs the notebook and renders its report."""

from __future__ import annotations

import argparse
import re
import sys

from . import framing, judging, machine, own, params, report, runner
from .attributes import load_classifier
from .blending import BLENDS
from .checks import InpaintError, check_choice
from .clip import load_clip
from .features import load_percept
from .files import check_writable
from .images import check_png, decode
from .landmarks import parse_eyes
from .masks import MOSTLY_HIDDEN
from .study import project_root
from .weights import load_generator

__all__ = ["inpaint"]


def inpaint(args: argparse.Namespace) -> None:
    """Fills the hole in a picture as the command line's arguments say; prints where the result and the report are.

    Raises InpaintError for whatever is wrong with them, before anything runs.
    """
    root = project_root()
    notebook = root / "notebooks" / "inpaint.ipynb"
    folder = root / "reports" / f"inpaint-{_slug(args.image.stem)}"
    out = args.out or folder / "result.png"
    paths = {"image": args.image, "mask": args.mask, "out": out}
    overrides = {"profile": folder.name, **{key: str(path.absolute()) for key, path in paths.items()}}
    overrides |= {key: True for key in ("resize_mask", "threshold_mask") if getattr(args, key)}
    overrides |= _faces(args) | _wishes(args)
    # What can be wrong with files, networks and machine is said now, not by a notebook some seconds or minutes later.
    check_png(out)
    if out.resolve() in (args.image.resolve(), args.mask.resolve()):
        raise InpaintError(f"OUT must be a new file; {out} is the picture or the mask itself")
    machine.device()
    decode(args.image)
    p = params.Inpaint.from_mapping(runner.checked_parameters(notebook, args.params, overrides))
    p.search()
    problems = _problems(args, p)
    if (hidden := own.hidden_share(problems)) > MOSTLY_HIDDEN:
        print(f"note: the mask hides {hidden:.0%} of the picture (white is the hole); is it inverted?", file=sys.stderr)
    if (rest := problems[0].rest) is not None:
        left = int(rest.count_nonzero())
        print(f"note: {left} pixels of the mask are not face {p.face}'s; they stay as they are", file=sys.stderr)
    _check_networks(p)
    if p.wishes():
        judging.check_apart([p.objective()], judging.JUDGES)
    check_writable(out)
    runner.run(notebook, args.params, folder / notebook.name, overrides)
    page = report.render(folder / notebook.name)
    report.index(folder.name)
    print(out, page, sep="\n")


def _problems(args: argparse.Namespace, p: params.Inpaint) -> list[framing.Problem]:
    """Returns what the notebook will make of the files. Raises InpaintError for what is wrong with them."""
    how = {"resize_mask": p.resize_mask, "threshold": p.threshold_mask, "eyes": p.eyes, "face": p.face}
    G = load_generator(p.generator)
    return framing.read(args.image, args.mask, size=G.img_resolution, crop=p.crop, alignment=G.alignment, **how)


def _check_networks(p: params.Inpaint) -> None:
    """Loads the networks that the notebook will read. Raises InpaintError for one that is not there or damaged."""
    load_percept(p.lpips_network)
    if p.attributes:
        load_classifier(p.classifier_network)
    if p.prompt:
        load_clip(p.clip_network)


def _faces(args: argparse.Namespace) -> dict[str, str | int]:
    """Returns what is said of faces and blending. Raises InpaintError for what cannot be meant."""
    given: dict[str, str | int] = {"crop": "aligned"} if args.align else {}
    if args.eyes is not None:
        parse_eyes(args.eyes)
        given["eyes"] = args.eyes
    if args.face is not None:
        if not re.fullmatch("[1-9][0-9]{0,3}", args.face):
            raise InpaintError(f"FACE must be 1 for the largest face, 2 for the next, and so on; got {args.face!r}")
        given["face"] = int(args.face)
    if args.blend is not None:
        check_choice("BLEND", args.blend, BLENDS)
        given["blend"] = args.blend
    return given


def _wishes(args: argparse.Namespace) -> dict[str, str]:
    """Returns what is asked for in the hole. Raises InpaintError for an empty wish: without it there is none."""
    given = {key: value for key in ("attributes", "prompt") if (value := getattr(args, key)) is not None}
    for key, value in given.items():
        if not value.strip():
            raise InpaintError(
                f"{key.upper()} must say what the hole should show; it is empty. Leave it out for no wish."
            )
    return given


def _slug(stem: str) -> str:
    """Returns a file's stem as a part of a profile's name: 'My Photo' -> 'my-photo'."""
    return re.sub("[^a-z0-9]+", "-", stem.lower()).strip("-") or "picture"
