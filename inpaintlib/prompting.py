"""Experiments with wishes: which holes, which wishes, and how each is searched for.

A *case* is a part of the face that is hidden and what is wished for it, ``"mouth|+Smiling"``, with a sentence for
CLIP behind it, ``"mouth|+Smiling|a smiling person"``. The wishes of a case are what the judges look for, whatever
steered. Every case stands beside the filling that the same search finds without a wish.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from .attributes import Wish, parse_wishes
from .checks import InpaintError
from .figures import masked
from .grid import Method, Progress, Task, run_all
from .invert import Inversion, Search
from .losses import objective_from
from .masks import make_mask
from .store import Store
from .stylegan2 import Generator

__all__ = [
    "Case",
    "Job",
    "classifier_jobs",
    "as_classifier",
    "clip_jobs",
    "gallery",
    "image_steps",
    "parse_case",
    "part_masks",
    "search_all",
    "side_by_side",
    "variant",
    "variant_gallery",
    "weight_name",
    "without",
]

PARTS = ("mouth", "eyes", "hair")


class Case(NamedTuple):
    """A hidden part of the face, what the judges look for, and the sentence for CLIP ("" = none)."""

    part: str
    wishes: tuple[Wish, ...]
    prompt: str = ""

    @property
    def name(self) -> str:
        """How tables and figures call it."""
        return f"{self.part}: {self.prompt or ', '.join(map(str, self.wishes))}"


def parse_case(text: str) -> Case:
    """Returns the case of ``"part|wishes"`` or ``"part|wishes|prompt"``.

    Raises InpaintError for another form or another part than mouth, eyes and hair.

    Example:
        >>> parse_case("mouth|+Smiling|a smiling person").name
        'mouth: a smiling person'
    """
    part, bar, rest = (p.strip() for p in text.partition("|"))
    wishes, _, prompt = (p.strip() for p in rest.partition("|"))
    if not bar or part not in PARTS:
        raise InpaintError(f"a case must be 'part|wishes|prompt' with part one of {', '.join(PARTS)}; got {text!r}")
    return Case(part, parse_wishes(wishes), prompt)


class Job(NamedTuple):
    """One search of all faces: the hidden part, what to look for (() = no wish) and how."""

    part: str
    wishes: tuple[Wish, ...]
    method: Method


def part_masks(coverages: Mapping[str, float], size: int, *, alignment: str = "celeba") -> dict[str, Tensor]:
    """Returns part -> mask (1, 1, size, size).

    Args:
        coverages: part -> hidden fraction.
        alignment: the generator's, see :func:`~inpaintlib.masks.make_mask`.
    """
    stream = torch.Generator()  # nothing is drawn
    return {p: make_mask(p, size, coverage=c, generator=stream, alignment=alignment) for p, c in coverages.items()}


def without(part: str) -> str:
    """Returns the name of the search without a wish."""
    return f"{part}: no wish"


def search_all(generator: Generator, target: Tensor, masks: Mapping[str, Tensor], jobs: Mapping[str, Job], *,
               seeds: Sequence[int], batch_size: int, store: Store | None = None,
               progress: Progress | None = None) -> dict[str, Inversion]:  # fmt: skip
    """Returns job -> :class:`Inversion`, all on the same targets and seeds, each under its part's mask."""
    searches = {name: Task(target, masks[job.part], job.method, seeds) for name, job in jobs.items()}
    return run_all(generator, searches, batch_size=batch_size, store=store, progress=progress)


def gallery(cases: Sequence[Case], records: Mapping[str, Inversion], target: Tensor, masks: Mapping[str, Tensor],
            shown: int) -> dict[str, Tensor]:  # fmt: skip
    """Returns title -> images (shown, 3, R, R): the targets, then of every part its hole, no wish, and its cases."""
    columns = {"target": target[:shown]}
    for part in dict.fromkeys(case.part for case in cases):
        columns[f"{part} hidden"] = masked(target[:shown], masks[part])
        columns[without(part)] = records[without(part)].composite[:shown]
        columns |= {case.name: records[case.name].composite[:shown] for case in cases if case.part == part}
    return {textwrap.fill(title, 15): images for title, images in columns.items()}


def side_by_side(cases: Sequence[Case], records: Mapping[str, Inversion], shown: int) -> dict[str, Tensor]:
    """Returns title -> images (shown, 3, R, R): of every case no wish, by prompt, by classifier."""
    columns = {}
    for case in cases:
        for name in (without(case.part), case.name, as_classifier(case)):
            columns[name] = records[name].composite[:shown]
    return {textwrap.fill(title, 15): images for title, images in columns.items()}


def variant_gallery(case: Case, records: Mapping[str, Inversion], shown: int) -> dict[str, Tensor]:
    """Returns title -> images (shown, 3, R, R): no wish, the case, and every variant of it."""
    columns = {
        without(case.part): records[without(case.part)].composite[:shown],
        "as above": records[case.name].composite[:shown],
    }
    start = f"{case.name} ("
    columns |= {n[len(start) : -1]: r.composite[:shown] for n, r in records.items() if n.startswith(start)}
    return {textwrap.fill(title, 15): images for title, images in columns.items()}


def image_steps(jobs: Mapping[str, Job], faces: int) -> int:
    """Returns what the searches cost: updates of one image, over all jobs."""
    return sum(job.method.search.passes * faces for job in jobs.values())


def _cases(texts: Sequence[str], contrast: str) -> tuple[list[Case], list[Case]]:
    """The parsed cases, and the parsed contrast with them at the end."""
    cases = [parse_case(text) for text in texts]
    every = [*cases, parse_case(contrast)]
    names = [case.name for case in every]
    if twice := [name for name in names if names.count(name) > 1]:
        raise InpaintError(
            f"cases must differ in part, wish or prompt; {twice[0]!r} stands {names.count(twice[0])} times"
        )
    return cases, every


def classifier_jobs(fidelity: Mapping[str, object], steering: Mapping[str, object], search: Search, two_phases: Search,
                    *, cases: Sequence[str], contrast: str, weights: Sequence[float],
                    views: int) -> dict[str, Job]:  # fmt: skip
    """Returns the searches of the report ``classifier``: every case, then one change at a time of the first.

    Args:
        fidelity: keys of the objective without a wish, for :func:`~inpaintlib.losses.objective_from`.
        steering: ``classifier_*`` keys without the wishes.
        search, two_phases: of all jobs but those named so, and of those; in the last one layers are frozen too.
        cases: "part|wishes"; the first is studied further.
        contrast: a case whose hidden part does not show its attribute.
        weights: of the sweep.
        views: number of random views that the gradient of one variant is averaged over.
    """
    tested, every = _cases(cases, contrast)

    def job(case: Case, how: Search = search, **change: object) -> Job:
        keys = {**fidelity, **steering, "classifier_wishes": ",".join(map(str, case.wishes)), **change}
        return Job(case.part, case.wishes, Method(objective_from(keys), how))

    jobs = _baselines(every, fidelity, search) | {case.name: job(case) for case in every}
    first, variants = tested[0], {}
    for weight in weights:
        variants[weight_name(weight)] = job(first, classifier_weight=weight)
    variants["margin"] = job(first, classifier_form="margin")
    variants["soft"] = job(first, classifier_form="soft")
    return jobs | _named(first, variants | _common(first, job, "classifier", search, two_phases, views))


def clip_jobs(fidelity: Mapping[str, object], steering: Mapping[str, object], classifier: Mapping[str, object],
              search: Search, two_phases: Search, *, cases: Sequence[str], contrast: str, weights: Sequence[float],
              views: int) -> dict[str, Job]:  # fmt: skip
    """Returns the searches of the report ``clip``, as :func:`classifier_jobs`.

    Args:
        steering: ``clip_*`` keys without the prompt.
        classifier: ``classifier_*`` keys: the same wishes as classifier targets, for claim C4.
        cases: "part|wishes|prompt".
    """
    tested, every = _cases(cases, contrast)
    if nameless := [case for case in every if not case.prompt]:
        raise InpaintError(
            f"a case of the report clip needs a prompt, 'part|wishes|prompt'; {nameless[0].name} has none"
        )

    def job(case: Case, how: Search = search, **change: object) -> Job:
        keys = {**fidelity, **steering, "clip_prompt": case.prompt, **change}
        return Job(case.part, case.wishes, Method(objective_from(keys), how))

    jobs = _baselines(every, fidelity, search) | {case.name: job(case) for case in every}
    for case in tested:
        keys = {**fidelity, **classifier, "classifier_wishes": ",".join(map(str, case.wishes))}
        jobs[as_classifier(case)] = Job(case.part, case.wishes, Method(objective_from(keys), search))
    first, variants = tested[0], {}
    for weight in weights:
        variants[weight_name(weight)] = job(first, clip_weight=weight)
    other = "cosine" if steering.get("clip_form") == "directional" else "directional"
    variants[other] = job(first, clip_form=other)
    return jobs | _named(first, variants | _common(first, job, "clip", search, two_phases, views))


def as_classifier(case: Case) -> str:
    """Returns the name of the search that has a case's wishes as a classifier's target."""
    return f"{case.part}: classifier {', '.join(map(str, case.wishes))}"


def weight_name(weight: float) -> str:
    """Returns the name of the variant with another weight."""
    return f"weight {weight:g}"


def variant(case: Case, name: str) -> str:
    """Returns the name of a variant of a case's search."""
    return f"{case.name} ({name})"


def _named(case: Case, variants: Mapping[str, Job]) -> dict[str, Job]:
    return {variant(case, name): job for name, job in variants.items()}


def _baselines(cases: Sequence[Case], fidelity: Mapping[str, object], search: Search) -> dict[str, Job]:
    parts = dict.fromkeys(case.part for case in cases)
    return {without(part): Job(part, (), Method(objective_from(fidelity), search)) for part in parts}


def _common(case: Case, job, term: str, search: Search, two_phases: Search, views: int) -> dict[str, Job]:
    """The variants of a case that classifier and CLIP share."""
    return {
        "reads G(w)": job(case, **{f"{term}_reads": "image"}),
        f"{views} views": job(case, **{f"{term}_views": views}),
        "two phases": job(case, replace(two_phases, frozen_layers=())),
        "two phases, frozen": job(case, two_phases),
    }
