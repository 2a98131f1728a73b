"""Judges what steering has done, by networks that did not steer: success, fooling, drift, cost, naturalness.

Success of a wish: the judge's evidence for the attribute has the wished sign (see :mod:`inpaintlib.attributes`).
Chance is what the filling without a wish reaches, for a face that smiles anyway needs no steering: all numbers are
paired with it, face by face. Where the guide, which was climbed, gains more than the judge
sees, it was fooled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .attributes import AttributeNetwork, Wish, load_classifier
from .captions import opposites
from .checks import InpaintError
from .clip import Clip, load_clip
from .experiments import generated_faces, verdict
from .features import Percept, load_percept
from .invert import Inversion
from .losses import Objective, masked_mse
from .metrics import Interval, mean_interval, paired_difference
from .probes import logits as discriminator_logits
from .prompting import Case, Job, variant, without
from .sets import kid
from .stylegan2 import Discriminator, Generator
from .weights import checksums, load_discriminator

__all__ = [
    "FormVerdict",
    "Judges",
    "check_apart",
    "clip_margin",
    "costs",
    "drift",
    "fooling",
    "form_verdicts",
    "gain",
    "generic_verdict",
    "judge",
    "load_judges",
    "naturalness",
    "saved",
    "success",
    "weight_sweep",
]


class Judges(NamedTuple):
    """The networks that tables are made with; none of them steers."""

    attributes: AttributeNetwork
    clip: Clip
    percept: Percept
    discriminator: Discriminator
    classes: Tensor | None = None  # of the targets, one-hot, which a discriminator with classes must be told


JUDGES = ("attributes-judge", "clip-judge", "percept-judge")


def check_apart(objectives: Sequence[Objective], judges: Sequence[str]) -> None:
    """Raises InpaintError if an objective reads a network that judges, be it under another name."""
    used = {name for objective in objectives for name in objective.networks}
    marks = checksums(*used, *judges)
    for name in sorted(used):
        for other in judges:
            if name == other or (marks[name] == marks[other] and marks[name].startswith("sha256:")):
                raise InpaintError(f"nothing may be judged by what it optimised; {name} steers and {other} judges")


def load_judges(objectives: Sequence[Objective], discriminator: str, *, classes: Tensor | None = None,
                device: torch.device | str = "cpu") -> Judges:  # fmt: skip
    """Returns the shipped judges and a discriminator; ``classes``: of the targets, see :class:`Judges`.

    Raises InpaintError if an objective reads one of them.
    """
    check_apart(objectives, (*JUDGES, discriminator))
    return Judges(load_classifier(JUDGES[0], device=device), load_clip(JUDGES[1], device=device),
                  load_percept(JUDGES[2], device=device), load_discriminator(discriminator, device=device),
                  classes)  # fmt: skip


@torch.no_grad()
def _evidence(network: AttributeNetwork, images: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities and evidence, both (N, A), on the CPU."""
    logits = network(images.to(network.prior.device).clamp(-1, 1))
    return torch.sigmoid(logits).cpu(), network.evidence(logits).cpu()


def _fulfilled(network: AttributeNetwork, evidence: Tensor, wishes: Sequence[Wish]) -> np.ndarray:
    """Which faces fulfil every wish, bool (N,)."""
    done = [(evidence[:, network.index(w.attribute)] > 0) == w.wanted for w in wishes]
    return torch.stack(done).all(dim=0).numpy()


def _probability(network: AttributeNetwork, probability: Tensor, wishes: Sequence[Wish]) -> np.ndarray:
    """The least of the wishes' probabilities, (N,)."""
    p = [probability[:, network.index(w.attribute)] if w.wanted else 1 - probability[:, network.index(w.attribute)]
         for w in wishes]  # fmt: skip
    return torch.stack(p).amin(dim=0).double().numpy()


@torch.no_grad()
def clip_margin(clip: Clip, images: Tensor, wishes: Sequence[Wish]) -> np.ndarray:
    """Returns how much nearer each image is to captions that say the wishes than to those that deny them, (N,).

    The smallest over the wishes, in cosine; above 0 the model sees them all fulfilled.
    """
    pictures = clip.embed_images(images.to(clip.mean.device).clamp(-1, 1))
    margins = []
    for w in wishes:
        margins.append((pictures @ clip.contrast(*opposites(w.attribute))) * (1.0 if w.wanted else -1.0))
    return torch.stack(margins).amin(dim=0).cpu().numpy()


def judge(records: Mapping[str, Inversion], jobs: Mapping[str, Job], target: Tensor, masks: Mapping[str, Tensor],
          judges: Judges, *, guide: AttributeNetwork | None = None,
          guide_clip: Clip | None = None) -> pd.DataFrame:  # fmt: skip
    """Returns a row a job with a wish and a face.

    Columns: method, item, then before and after steering ``judge``, ``clip_judge`` and, if given, ``guide`` and
    ``guide_clip`` (1 = every wish fulfilled), ``known_mse`` of G(w) and ``realism`` (the discriminator's logit of the
    composite by itself) and ``wish``, the judge's probability that the wish is fulfilled (the least of several);
    ``drift``, the mean change of the judge's probability over all other attributes, and
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
            columns |= {f"wish{suffix}": _probability(judges.attributes, look["probability"], job.wishes)}
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
        known = masked_mse(record.image.cpu().clamp(-1, 1), target.cpu(), masks[job.part])
    realism = discriminator_logits(judges.discriminator, record.composite.clamp(-1, 1), judges.classes)
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
                change = _rate((after - before).to_numpy(), resamples=resamples)
                rows.append((method, observer, len(group), before.mean(), after.mean(), *change))
    return pd.DataFrame(rows, columns=["method", "observer", "n", "before", "after", "mean", "low", "high"])


def costs(table: pd.DataFrame, *, resamples: int) -> pd.DataFrame:
    """Returns what else steering changes, paired with the filling without a wish.

    Columns method, metric, n, before, after, mean (after - before), low, high. Metrics: ``wish``, the judge's
    probability that the wish is fulfilled; ``known_mse``; ``realism``; ``drift`` (before: of inpainting
    itself, from the target).
    """
    rows = []
    for method, group in table.groupby("method", sort=False):
        for metric in ("wish", "known_mse", "realism", "drift"):
            after = group["drift"] if metric == "drift" else group[f"{metric}_after"]
            before = group[f"{metric}_before"]
            change = paired_difference(after, before, resamples=resamples)
            rows.append((method, metric, len(group), before.mean(), after.mean(), *change))
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
    """Returns KID against generated faces, columns images, n, sets, kid, low, high.

    The sets of a group are scored one by one and their estimates and intervals' ends averaged: several fillings of one
    face are no independent images, and pooled they would raise the distance by themselves.

    Args:
        groups: name -> sets of images, each (N, 3, R, R) of N different faces, N the same for all.
        reference: number of other generated faces to compare with.
    """
    faces = generated_faces(generator, reference, seed=seed)
    rows = []
    for name, sets in groups.items():
        scores = [kid(images, faces, judge=judge) for images in sets]
        rows.append((name, len(sets[0]), len(sets), *np.mean(scores, axis=0)))
    return pd.DataFrame(rows, columns=["images", "n", "sets", "kid", "low", "high"])


def weight_sweep(table: pd.DataFrame, methods: Mapping[float, str], *, observers: Mapping[str, str],
                 resamples: int) -> pd.DataFrame:  # fmt: skip
    """Returns success and costs against the weight for :func:`~inpaintlib.figures.sweep`.

    Args:
        table: of :func:`judge`.
        methods: weight -> its method.
        observers: observer -> the name of its line.
    """
    rows = []
    panels = {f"{observer}_after": ("success", line) for observer, line in observers.items()}
    panels |= {"known_mse_after": ("known_mse", "G(w)"), "drift": ("drift", "other attributes")}
    for weight, method in methods.items():
        group = table[table["method"] == method]
        for column, (panel, line) in panels.items():
            value = mean_interval(group[column].to_numpy(dtype=float), resamples=resamples)
            rows.append((weight, panel, line, *value))
    return pd.DataFrame(rows, columns=["weight", "panel", "line", "mean", "low", "high"])


def _rate(values: np.ndarray, *, resamples: int) -> Interval:
    """The mean of differences of rates with its 95 % bootstrap interval.

    Where all faces agree a bootstrap has no width; then the rule of three serves (Hanley & Lippman-Hand 1983): what
    was not seen once in n faces may still occur in 3 / n.
    """
    found = mean_interval(np.asarray(values, dtype=float), resamples=resamples)
    if found.low < found.high:
        return found
    return Interval(found.value, found.value - 3 / len(values), found.value + 3 / len(values))


def _gains(table: pd.DataFrame, methods: Sequence[str], observer: str) -> pd.Series:
    """Each face's gain of success, averaged over methods."""
    part = table[table["method"].isin(methods)]
    return (part[f"{observer}_after"] - part[f"{observer}_before"]).groupby(part["item"]).mean()


def gain(table: pd.DataFrame, methods: Sequence[str], observer: str, *, resamples: int) -> Interval:
    """Returns the paired gain of success over several methods with a 95 % bootstrap interval over the faces."""
    return _rate(_gains(table, methods, observer).to_numpy(), resamples=resamples)


def fooling(table: pd.DataFrame, methods: Sequence[str], guide: str, *, resamples: int) -> Interval:
    """Returns how much more the climbed network gained than the judge, paired over the faces: above 0 it was fooled."""
    more = _gains(table, methods, guide) - _gains(table, methods, "judge")
    return _rate(more.to_numpy(), resamples=resamples)


def saved(table: pd.DataFrame, a: str, b: str, column: str, *, resamples: int) -> Interval:
    """Returns the paired difference ``a - b`` of two methods in a column, with its 95 % bootstrap interval."""
    wide = table.pivot(index="item", columns="method", values=column)
    return paired_difference(wide[a], wide[b], resamples=resamples)


C3 = (
    "With a classifier it is easy to guide the generation (tested: the judged success of the wishes, where the hidden "
    "part shows them, rises by at least {easy:.0%} of the faces)"
)
C3_FORM = (
    "The {form} form improves on plain BCE (tested: less error on the known pixels, and no loss of judged success "
    "above {equal:.0%} of the faces; shown is {what})"
)
C4 = (
    "Classifiers are rare, CLIP is more generic (tested: the same wishes by prompt succeed at least as often, less "
    "{equal:.0%}, as by a classifier; only a CLIP that did not learn from these attributes can show it)"
)


class FormVerdict(NamedTuple):
    """What decides whether a form improves: the effect is above ``least`` if it does."""

    what: str
    effect: Interval
    least: float
    verdict: str


def form_verdicts(table: pd.DataFrame, case: Case, *, equal: float, resamples: int) -> dict[str, FormVerdict]:
    """Returns form -> the part of its improvement on plain BCE that decides.

    That is what it saves of the error on the known pixels, which must be above 0; where that is shown, its gain of
    judged success, which must be above ``-equal``.
    """
    found = {}
    for form in ("margin", "soft"):
        wide = table.pivot(index="item", columns="method", values="judge_after")
        error = saved(table, case.name, variant(case, form), "known_mse_after", resamples=resamples)
        found[form] = FormVerdict("the error saved", error, 0.0, verdict(error))
        if found[form].verdict == "supported":
            kept = _rate((wide[variant(case, form)] - wide[case.name]).to_numpy(), resamples=resamples)
            found[form] = FormVerdict("the gain of success", kept, -equal, verdict(kept, least=-equal))
    return found


def generic_verdict(table: pd.DataFrame, prompts: Sequence[str], classifiers: Sequence[str], *, equal: float,
                    learnt: bool, resamples: int) -> tuple[Interval, str]:  # fmt: skip
    """Returns judged success by prompt less that by classifier, paired, and the verdict on claim C4.

    ``learnt``: the CLIP learnt from the attributes themselves; with such a one the claim is undecided.
    """
    wide = table.pivot(index="item", columns="method", values="judge_after")
    per_face = wide[list(prompts)].mean(axis=1) - wide[list(classifiers)].mean(axis=1)
    effect = _rate(per_face.to_numpy(), resamples=resamples)
    return effect, "undecided" if learnt else verdict(effect, least=-equal)
