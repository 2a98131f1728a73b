"""One run of the explorer: the steps of ``notebooks/inpaint.ipynb`` on the files of a result's folder.

They are the same calls in the same order, so that ``make inpaint`` with the result's params file writes the same PNG.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from .. import framing, own, params, study
from ..checks import InpaintError
from ..features import load_percept
from ..framing import Problem
from ..images import to_uint8
from ..invert import Inversion
from ..judging import JUDGES, check_apart
from ..record import Watch
from ..stylegan2 import Generator
from ..weights import checksums, serialised
from . import pictures
from .results import COMMAND, LATENTS, MASK, PARAMS, SCORES, Result, photo_name
from .session import Draft
from .settings import Settings, command

__all__ = ["Job", "check", "default_threads", "fill", "frame", "settle", "warm_up"]

WISHES = {"attributes": "+Smiling", "prompt": "a smiling person"}  # some, to warm up with


class Job(NamedTuple):
    """What a run needs to know."""

    settings: Settings
    photo_png: bytes
    mask: np.ndarray  # bool (H, W), True = hole
    threads: int


def default_threads() -> int:
    """Returns ``INPAINTLIB_THREADS`` if it is set, else the number of cores that this process may use."""
    given = os.environ.get("INPAINTLIB_THREADS", "")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(given) if given.isdecimal() and int(given) > 0 else cores


def settle(p: params.Inpaint, threads: int) -> None:
    """Makes torch compute in this thread as it does in the notebook that ``make inpaint`` runs."""
    study.begin(p)
    torch.set_num_threads(threads)


def check(settings: Settings) -> params.Inpaint:
    """Returns the settings as the notebook has them.

    Raises InpaintError for settings that do not fit together, wishes or words that a network does not know, or an
    objective that reads a judge.
    """
    p = params.Inpaint.from_mapping(settings.params(), "settings")
    p.search()
    check_apart([p.objective()], JUDGES)
    return p


def frame(job: Job, draft: Draft, generator: Generator) -> Problem:
    """Writes photo and mask, and returns what the generator sees of them.

    Raises InpaintError if a file cannot be written, the mask lies where the generator draws nothing, no face is found
    where one is needed, or several have a hole.
    """
    photo, mask, s = draft.hidden / photo_name(draft.number), draft.hidden / MASK, job.settings
    draft.write(photo.name, job.photo_png)
    draft.write(mask.name, pictures.mask_png(job.mask))
    problems = framing.read(photo, mask, size=generator.img_resolution, crop=s.crop, resize_mask=False, threshold=False,
                            alignment=generator.alignment, eyes=s.eyes, face=s.face)  # fmt: skip
    if len(problems) > 1:
        raise InpaintError(
            f"the mask hides parts of {len(problems)} faces; hide one at a time, and go on from its completion"
        )
    return problems[0]


def fill(job: Job, draft: Draft, generator: Generator, problem: Problem, watch: Watch) -> tuple[Result, str]:
    """Searches, and returns the result, saved if it can be, and a note, "" or why something of it is missing.

    Raises InpaintError if the search diverges; see also :func:`check`.
    """
    p = params.Inpaint.from_mapping(_values(job, draft), "settings")
    record = own.search(generator, problem, p, watch=watch)
    files = {photo_name(draft.number): job.photo_png, MASK: pictures.mask_png(job.mask)}
    for i in range(len(record.image)):
        picture = framing.completion([problem], [record.image[i : i + 1]], kind=p.blend, feather=p.feather)
        # The best one is the file that `make inpaint` writes; of the others a larger file is made much sooner.
        files[f"result-{i + 1}.png"] = pictures.png(to_uint8(picture)[0], **({"compress_level": 1} if i else {}))
    steps = min(int(record.history.groupby("item").size().min()), p.steps)
    scores, note = _scores(problem, record, p)
    text = scores.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    files[LATENTS] = _latents(record, steps, p.generator)
    files[PARAMS] = job.settings.yaml(*_paths(draft)).encode()
    files[SCORES], files[COMMAND] = text.encode(), _command(job, draft, record.stopped, steps).encode()
    result = Result(draft.number, None, job.settings, scores, record.stopped, steps, files)
    try:
        for name, content in files.items():
            draft.write(name, content)
        return replace(result, folder=draft.finish(), held={}), note
    except InpaintError as error:
        return result, f"The result could not be saved; download it before this page is closed. {error}"


def _paths(draft: Draft) -> tuple[str, str, str]:
    """Photo, mask and where ``make inpaint`` puts its result, from the project's folder."""
    folder = f"reports/explorer/{draft.final.name}"
    return f"{folder}/{photo_name(draft.number)}", f"{folder}/{MASK}", f"{folder}/again.png"


def _values(job: Job, draft: Draft) -> dict:
    return job.settings.params(*_paths(draft))


def _command(job: Job, draft: Draft, stopped: str, steps: int) -> str:
    image, mask, out = _paths(draft)
    root = draft.final.parents[2]
    line = command(image, mask, image.replace(photo_name(draft.number), PARAMS), out, job.threads, _python(root))
    where = "# in the project's folder\n"
    if stopped == "stopped":
        where += f"# Stopped after {steps} of {job.settings.steps} steps. This line makes all of them:\n"
    return f"{where}{line}\n"


def _python(root: Path) -> str:
    """This interpreter, or "" where it is the one that ``make`` takes by itself."""
    return "" if Path(sys.prefix).resolve() == (root / ".venv").resolve() else sys.executable


def _scores(problem: Problem, record: Inversion, p: params.Inpaint) -> tuple[pd.DataFrame, str]:
    """The table of scores, and why the wishes are not judged, or ""."""
    table = own.scores([problem], [record], load_percept("percept-judge")).drop(columns="face")
    table.insert(0, "sample", range(1, len(table) + 1))
    try:
        judged = own.wish_scores([record], p.attributes, p.prompt)
    except InpaintError as error:  # the search is done, and must not be lost
        return table, f"The wishes are not judged: {error}"
    silent = "The prompt is not judged: clip-judge does not know all of its words."
    return table.join(judged), silent if p.prompt and "prompt" not in judged else ""


def _latents(record: Inversion, steps: int, generator: str) -> bytes:
    tensors = {"w": record.w} | ({} if record.z is None else {"z": record.z})
    facts = {"stopped": record.stopped, "steps": str(steps), "seeds": ",".join(map(str, record.seeds))}
    content = {name: x.contiguous() for name, x in tensors.items()}
    return serialised(content, facts | {"generator": generator, "weights": checksums(generator)[generator]})


def warm_up(generator: Generator, settings: Settings) -> None:
    """Makes one step of a search, then loads what wishes and judges need: packages and networks.

    It does not :func:`settle`: the number of threads is partly the process's, and a run may have begun meanwhile.
    """
    few = settings.model_copy(update={"steps": 1, "attributes": "", "prompt": ""})
    size = generator.img_resolution
    mask = torch.zeros(1, 1, size, size)
    mask[..., size // 2 :, :] = 1.0
    problem = framing.prepare(torch.zeros(1, 3, size, size), mask, size=size)
    record = own.search(generator, problem, check(few))
    load_percept("percept-judge")
    check(settings.model_copy(update=WISHES))
    own.wish_scores([record], *WISHES.values())
