"""The command line: ``python -m inpaintlib VERB ...``, or ``inpaintlib VERB ...`` where it is installed."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from . import framing, machine, own, params, reference, report, runner
from .alignment import ALIGNMENTS
from .attributes import load_classifier
from .blending import BLENDS
from .checks import InpaintError, check_choice
from .clip import load_clip
from .features import load_percept
from .files import check_writable
from .images import check_png, decode
from .landmarks import parse_eyes
from .study import project_root
from .weights import load_generator

MOSTLY_HIDDEN = 0.6  # of the pixels: an inverted mask is likelier than such a wish


def _run(args: argparse.Namespace) -> None:
    runner.run(args.notebook, args.params, args.out)


def _render(args: argparse.Namespace) -> None:
    print(report.render(args.executed))


def _index(args: argparse.Namespace) -> None:
    print(report.index(args.profile))


def _check(args: argparse.Namespace) -> None:
    report.check(args.profile)
    print(f"the reports of profile {args.profile} are whole")


def _reference(args: argparse.Namespace) -> None:
    print(*reference.write_reference(args.profile), sep="\n")


def _convert(args: argparse.Namespace) -> None:
    from .published.convert import convert  # what no other verb needs

    print(*convert(args.source, args.out, alignment=args.alignment), sep="\n")


def _fetch(args: argparse.Namespace) -> None:
    from .published.fetch import fetch, listing

    print(*[fetch(name) for name in args.names] or [listing()], sep="\n")


def _inpaint(args: argparse.Namespace) -> None:
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
        from . import judging  # imports torchmetrics and its like, which no other verb needs

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


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m inpaintlib", description="Runs notebooks and makes reports.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    run = verbs.add_parser("run", help="execute a notebook with a params file")
    run.add_argument("notebook", type=Path)
    run.add_argument("--params", type=Path, required=True)
    run.add_argument("--out", type=Path, required=True, help="the executed notebook")
    run.set_defaults(verb=_run)
    render = verbs.add_parser("render", help="make the HTML page of an executed notebook, beside it")
    render.add_argument("executed", type=Path)
    render.set_defaults(verb=_render)
    for name, verb, text in (("index", _index, "list the reports of a profile"), ("check", _check, "prove them whole")):
        command = verbs.add_parser(name, help=text)
        command.add_argument("profile")
        command.set_defaults(verb=verb)
    committed = verbs.add_parser("reference", help="keep the numbers of a profile's reports in reports/reference/")
    committed.add_argument("profile", nargs="?", default="full")
    committed.set_defaults(verb=_reference)
    converter = verbs.add_parser("convert", help="make safetensors of a published StyleGAN2 file; nothing in it is run")
    converter.add_argument(
        "source", type=Path, help="a .pkl of StyleGAN2-ADA, a .pt or .pth of torch.save, safetensors"
    )
    converter.add_argument("out", type=Path, help="ends in .safetensors; a discriminator goes beside it")
    converter.add_argument("--alignment", choices=ALIGNMENTS, help="how faces lie in its images")
    converter.set_defaults(verb=_convert)
    fetcher = verbs.add_parser("fetch", help="get published weights by their names in the zoo; without a name, list it")
    fetcher.add_argument("names", nargs="*", metavar="NAME")
    fetcher.set_defaults(verb=_fetch)
    inpaint = verbs.add_parser("inpaint", help="fill the hole in an image of your own; makes a PNG and a report")
    inpaint.add_argument("image", type=Path)
    inpaint.add_argument("mask", type=Path, help="white is the hole")
    inpaint.add_argument("--out", type=Path, help="the PNG to write; default: result.png beside the report")
    inpaint.add_argument("--resize-mask", action="store_true", help="accept a mask of another size")
    inpaint.add_argument("--threshold", dest="threshold_mask", action="store_true", help="accept grey in the mask")
    inpaint.add_argument("--align", action="store_true", help="cut out the faces as the generator's pictures have them")
    inpaint.add_argument("--eyes", help="where the eyes of the face to align are, pixels: x,y,x,y")
    inpaint.add_argument("--face", help="which of the faces found: 1 is the largest; default: all that have a hole")
    inpaint.add_argument("--blend", help="hard (default), feathered or poisson")
    inpaint.add_argument("--attributes", help="what the hole should have or not have: +Smiling,-Eyeglasses")
    inpaint.add_argument("--prompt", help="a sentence that the hole should match")
    inpaint.add_argument("--params", type=Path, required=True)
    inpaint.set_defaults(verb=_inpaint)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one verb and returns the exit status: 0, 1 after bad input (said in one sentence), 130 after Ctrl-C."""
    args = _parser().parse_args(argv)
    try:
        args.verb(args)
    except InpaintError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
