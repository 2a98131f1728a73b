"""The command line: ``python -m inpaintlib VERB ...``, or ``inpaintlib VERB ...`` where it is installed."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from . import reference, report, runner
from .alignment import ALIGNMENTS
from .checks import InpaintError


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
    from .inpaint import inpaint  # imports OpenCV, torchmetrics and their like, which no other verb needs

    inpaint(args)


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
