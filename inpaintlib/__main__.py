"""The command line of the Makefile: ``python -m inpaintlib {run,render,index,check,inpaint} ...``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from . import report, runner
from .checks import InpaintError
from .study import project_root


def _run(args: argparse.Namespace) -> None:
    runner.run(args.notebook, args.params, args.out)


def _render(args: argparse.Namespace) -> None:
    print(report.render(args.executed))


def _index(args: argparse.Namespace) -> None:
    print(report.index(args.profile))


def _check(args: argparse.Namespace) -> None:
    report.check(args.profile)
    print(f"the reports of profile {args.profile} are whole")


def _inpaint(args: argparse.Namespace) -> None:
    for path in (args.image, args.mask):
        if not path.is_file():
            raise InpaintError(f"{path} must be an image file; there is none")
    root = project_root()
    out = args.out or root / "reports" / "inpaint" / f"{args.image.stem}.png"
    executed = root / "reports" / "inpaint" / f"inpaint-{args.image.stem}.ipynb"
    paths = {"image": args.image, "mask": args.mask, "out": out}
    overrides = {"profile": "inpaint", **{key: str(path.absolute()) for key, path in paths.items()}}
    runner.run(root / "notebooks" / "inpaint.ipynb", args.params, executed, overrides)
    page = report.render(executed)
    report.index("inpaint")
    print(out, page, sep="\n")


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
    inpaint = verbs.add_parser("inpaint", help="fill the hole in an image of your own; makes a PNG and a report")
    inpaint.add_argument("image", type=Path)
    inpaint.add_argument("mask", type=Path, help="white is the hole")
    inpaint.add_argument("--out", type=Path, help="the PNG to write")
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
