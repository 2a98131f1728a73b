"""Experiments with wishes: the same holes filled without and with a wish, judged by networks that did not steer.

A *case* is a part of the face that is hidden and what is wished for it, ``"mouth|+Smiling"``, with a sentence for
CLIP behind it, ``"mouth|+Smiling|a smiling person"``. The wishes of a case are what the judges look for, whatever
steered. Every case is compared, face by face, with the filling that the same search finds without a wish.

Success of a wish: the judge's evidence for the attribute has the wished sign (see :mod:`inpaintlib.attributes`).
Chance is what the filling without a wish reaches, for a face that smiles anyway needs no steering.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .attributes import AttributeNetwork, Wish, load_classifier, parse_wishes
from .captions import opposites
from .checks import InpaintError
from .clip import Clip, load_clip
from .experiments import Method, compare, generated_faces
from .features import Percept, load_percept
from .invert import Inversion, Progress, Search
from .losses import Objective, masked_mse, objective_from
from .masks import make_mask
from .metrics import Interval, kid, mean_interval
from .probes import logits as discriminator_logits
from .stylegan2 import Discriminator, Generator
from .weights import checksums, load_discriminator

__all__ = ["Case", "Job", "Judges", "check_apart", "drift", "judge", "load_judges", "naturalness", "parse_case",
           "part_masks", "search_all", "success", "without"]  # fmt: skip

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


class Judges(NamedTuple):
    """The networks that tables are made with; none of them steers."""

    attributes: AttributeNetwork
    clip: Clip
    percept: Percept
    discriminator: Discriminator


JUDGES = ("attributes-judge", "clip-judge", "percept-judge")


def check_apart(objectives: Sequence[Objective], judges: Sequence[str]) -> None:
    """Raises InpaintError if an objective reads a network that judges, be it under another name."""
    used = {name for objective in objectives for name in objective.networks}
    marks = checksums(*used, *judges)
    for name in sorted(used):
        for other in judges:
            if name == other or (marks[name] == marks[other] and marks[name].startswith("sha256:")):
                raise InpaintError(f"nothing may be judged by what it optimised; {name} steers and {other} judges")


def load_judges(objectives: Sequence[Objective], discriminator: str) -> Judges:
    """Returns the shipped judges and a discriminator.

    Raises InpaintError if an objective reads one of them.
    """
    check_apart(objectives, (*JUDGES, discriminator))
    return Judges(load_classifier(JUDGES[0]), load_clip(JUDGES[1]), load_percept(JUDGES[2]),
                  load_discriminator(discriminator))  # fmt: skip


def part_masks(coverages: Mapping[str, float], size: int) -> dict[str, Tensor]:
    """Returns part -> mask (1, 1, size, size); ``coverages``: part -> hidden fraction."""
    return {p: make_mask(p, size, coverage=c, generator=torch.Generator()) for p, c in coverages.items()}


def without(part: str) -> str:
    """Returns the name of the search without a wish."""
    return f"{part}: no wish"


def search_all(generator: Generator, target: Tensor, masks: Mapping[str, Tensor], jobs: Mapping[str, Job], *,
               seeds: Sequence[int], batch_size: int, progress: Progress | None = None) -> dict[str, Inversion]:  # fmt: skip
    """Returns job -> :class:`Inversion`, all on the same targets and seeds, each under its part's mask."""
    total = sum(len(target) * job.method.search.steps for job in jobs.values())
    done, records = 0, {}
    for part in dict.fromkeys(job.part for job in jobs.values()):
        methods = {name: job.method for name, job in jobs.items() if job.part == part}

        def tell(step: int, _: int, loss: Tensor, done: int = done) -> None:
            if progress is not None:
                progress(done + step, total, loss)

        records |= compare(generator, target, masks[part], methods, seeds=seeds, batch_size=batch_size, progress=tell)
        done += sum(len(target) * m.search.steps for m in methods.values())
    return {name: records[name] for name in jobs}


@torch.no_grad()
def _evidence(network: AttributeNetwork, images: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities and evidence, both (N, A)."""
    logits = network(images.clamp(-1, 1))
    return torch.sigmoid(logits), network.evidence(logits)


def _fulfilled(network: AttributeNetwork, evidence: Tensor, wishes: Sequence[Wish]) -> np.ndarray:
    """Which faces fulfil every wish, bool (N,)."""
    done = [(evidence[:, network.index(w.attribute)] > 0) == w.wanted for w in wishes]
    return torch.stack(done).all(dim=0).numpy()


@torch.no_grad()
def clip_margin(clip: Clip, images: Tensor, wishes: Sequence[Wish]) -> np.ndarray:
    """Returns how much nearer each image is to captions that say the wishes than to those that deny them, (N,).

    The smallest over the wishes, in cosine; above 0 the model sees them all fulfilled.
    """
    pictures = clip.embed_images(images.clamp(-1, 1))
    margins = []
    for w in wishes:
        say, deny = opposites(w.attribute)
        unit = lambda texts: torch.nn.functional.normalize(clip.embed_texts(texts).mean(0), dim=0)  # noqa: E731
        margins.append((pictures @ (unit(say) - unit(deny))) * (1.0 if w.wanted else -1.0))
    return torch.stack(margins).amin(dim=0).numpy()


def judge(records: Mapping[str, Inversion], jobs: Mapping[str, Job], target: Tensor, masks: Mapping[str, Tensor],
          judges: Judges, *, guide: AttributeNetwork | None = None, guide_clip: Clip | None = None) -> pd.DataFrame:  # fmt: skip
    """Returns a row a job with a wish and a face.

    Columns: method, item, then before and after steering ``judge``, ``clip_judge`` and, if given, ``guide`` and
    ``guide_clip`` (1 = every wish fulfilled), ``known_mse`` of G(w) and ``realism`` (the discriminator's logit of the
    composite by itself); ``drift``, the mean change of the judge's probability over all other attributes, and
    ``drift_before``, that of inpainting without a wish against the target.
    """
    tables, at_target = [], _evidence(judges.attributes, target)[0]
    looks = {name: _looks(records[name], job, target, masks, judges) for name, job in jobs.items() if not job.wishes}
    for name, job in jobs.items():
        if not job.wishes:
            continue
        plain = records[without(job.part)]
        before, after = looks[without(job.part)], _looks(records[name], job, target, masks, judges)
        columns = {"item": range(len(target))}
        others = [i for i, a in enumerate(judges.attributes.attributes) if a not in {w.attribute for w in job.wishes}]
        for suffix, look, record in (("_before", before, plain), ("_after", after, records[name])):
            columns |= {f"judge{suffix}": _fulfilled(judges.attributes, look["evidence"], job.wishes).astype(int)}
            columns |= {f"clip_judge{suffix}": (clip_margin(judges.clip, record.composite, job.wishes) > 0).astype(int)}
            if guide is not None:
                evidence = _evidence(guide, record.composite)[1]
                columns |= {f"guide{suffix}": _fulfilled(guide, evidence, job.wishes).astype(int)}
            if guide_clip is not None:
                margin = clip_margin(guide_clip, record.composite, job.wishes)
                columns |= {f"guide_clip{suffix}": (margin > 0).astype(int)}
            columns |= {f"{k}{suffix}": look[k] for k in ("known_mse", "realism")}
        change = lambda a, b, others=others: (a - b)[:, others].abs().mean(dim=1).numpy()  # noqa: E731
        columns |= {"drift": change(after["probability"], before["probability"]),
                    "drift_before": change(before["probability"], at_target)}  # fmt: skip
        table = pd.DataFrame(columns)
        table.insert(0, "method", name)
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def _looks(record: Inversion, job: Job, target: Tensor, masks: Mapping[str, Tensor], judges: Judges) -> dict:
    probability, evidence = _evidence(judges.attributes, record.composite)
    with torch.no_grad():
        known = masked_mse(record.image.clamp(-1, 1), target, masks[job.part])
    realism = discriminator_logits(judges.discriminator, record.composite.clamp(-1, 1))
    return {"probability": probability, "evidence": evidence, "known_mse": known.double().numpy(),
            "realism": realism.double().numpy()}  # fmt: skip


def success(table: pd.DataFrame, *, resamples: int) -> pd.DataFrame:
    """Returns success rates before and after and their paired difference with a 95 % bootstrap interval.

    Args:
        table: of :func:`judge`.

    Returns:
        A row a method and observer; columns method, observer, n, before, after, mean (the difference), low, high.
    """
    rows = []
    for method, group in table.groupby("method", sort=False):
        for observer in ("judge", "clip_judge", "guide", "guide_clip"):
            if f"{observer}_after" in group:
                before, after = group[f"{observer}_before"], group[f"{observer}_after"]
                gain = mean_interval((after - before).to_numpy(dtype=float), resamples=resamples)
                rows.append((method, observer, len(group), before.mean(), after.mean(), *gain))
    return pd.DataFrame(rows, columns=["method", "observer", "n", "before", "after", "mean", "low", "high"])


def costs(table: pd.DataFrame, *, resamples: int) -> pd.DataFrame:
    """Returns what steering costs, paired with the filling without a wish; columns method, metric, n, before, after,
    mean (after - before; of drift the drift itself, beside that of inpainting at all), low, high.
    """
    rows = []
    for method, group in table.groupby("method", sort=False):
        for metric in ("known_mse", "realism"):
            before, after = group[f"{metric}_before"], group[f"{metric}_after"]
            change = mean_interval((after - before).to_numpy(), resamples=resamples)
            rows.append((method, metric, len(group), before.mean(), after.mean(), *change))
        moved = mean_interval(group["drift"].to_numpy(), resamples=resamples)
        rows.append((method, "drift", len(group), group["drift_before"].mean(), group["drift"].mean(), *moved))
    return pd.DataFrame(rows, columns=["method", "metric", "n", "before", "after", "mean", "low", "high"])


def drift(records: Mapping[str, Inversion], jobs: Mapping[str, Job], network: AttributeNetwork, *,
          most: int = 4) -> pd.DataFrame:  # fmt: skip
    """Returns, for every job with a wish, the unwished attributes that moved most in the judge's eyes.

    Columns method, attribute, change: of the mean probability, against the filling without a wish.
    """
    rows = []
    mean = {name: _evidence(network, record.composite)[0].mean(dim=0) for name, record in records.items()}
    for name, job in jobs.items():
        wished = {w.attribute for w in job.wishes}
        if wished:
            change = mean[name] - mean[without(job.part)]
            moved = [(a, float(c)) for a, c in zip(network.attributes, change, strict=True) if a not in wished]
            rows += [(name, *pair) for pair in sorted(moved, key=lambda pair: -abs(pair[1]))[:most]]
    return pd.DataFrame(rows, columns=["method", "attribute", "change"])


def naturalness(groups: Mapping[str, Sequence[Tensor]], generator: Generator, judge: Percept, *, reference: int,
                seed: int) -> pd.DataFrame:  # fmt: skip
    """Returns KID of pooled images against generated faces, columns images, n, kid, low, high.

    Args:
        groups: name -> images, each (N, 3, R, R); every group is pooled.
        reference: number of other generated faces to compare with.
    """
    faces = generated_faces(generator, reference, seed=seed)
    rows = []
    for name, images in groups.items():
        pooled = torch.cat(list(images)).clamp(-1, 1)
        rows.append((name, len(pooled), *kid(pooled, faces, judge=judge, subset_size=min(len(pooled), reference) // 2)))
    return pd.DataFrame(rows, columns=["images", "n", "kid", "low", "high"])


def gain(table: pd.DataFrame, methods: Sequence[str], observer: str, *, resamples: int) -> Interval:
    """Returns the paired gain of success over several methods with a 95 % bootstrap interval over the faces."""
    part = table[table["method"].isin(methods)]
    per_face = (part[f"{observer}_after"] - part[f"{observer}_before"]).groupby(part["item"]).mean()
    return mean_interval(per_face.to_numpy(dtype=float), resamples=resamples)


def saved(table: pd.DataFrame, a: str, b: str, column: str, *, resamples: int) -> Interval:
    """Returns the paired difference ``a - b`` of two methods in a column, with its 95 % bootstrap interval."""
    wide = table.pivot(index="item", columns="method", values=column)
    return mean_interval((wide[a] - wide[b]).to_numpy(dtype=float), resamples=resamples)
