"""The sentences of the report ``stochasticity``, computed from its tables."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .fillings import BOTH, FACES, KEPT, LONG, MASK, NOISE, RATE, SPACE, start
from .metrics import Interval, paired_difference
from .stochasticity import CEILING, EDGE, SEEN, UNSEEN, fractions

__all__ = ["convergence", "sources", "theory", "truth"]


def _range(row: pd.Series) -> str:
    return f"{row['mean']:.2f} ({row['low']:.2f} to {row['high']:.2f})"


def sources(spreads: pd.DataFrame, summary: pd.DataFrame, shares: pd.DataFrame, space: str, *,
            resamples: int) -> str:  # fmt: skip
    """Reading of what varies, and by how much; ``shares`` is the table of ``stochasticity.decomposition``."""
    lpips = summary[summary["metric"] == "lpips"].set_index("method")
    ours = start(space)
    text = (
        f"Two fillings from other random starts in {space.upper()} differ in hole LPIPS by {_range(lpips.loc[ours])} "
        "of what holes of different faces differ by. "
        f"From one start, it is {_range(lpips.loc[NOISE])} by noise inputs, "
        f"{_range(lpips.loc[RATE])} by the learning rate, {_range(lpips.loc[SPACE])} between W and W+ and "
        f"{_range(lpips.loc[MASK])} by a shift of the hole; with start and noise inputs both drawn anew, "
        f"{_range(lpips.loc[BOTH])}. "
    )
    wide = fractions(spreads, "lpips")
    more = paired_difference(wide[NOISE], 2.0 * wide[KEPT], resamples=resamples)
    text += f"Under a code that is kept, noise inputs change {_range(lpips.loc[KEPT])}: {_diverted(more)}.\n\n"
    parts = [
        f"in the design {design} {rows.iloc[0]['mean']:.0%} ({rows.iloc[0]['low']:.0%} to {rows.iloc[0]['high']:.0%}; "
        f"independent fillings would give {rows.iloc[0]['chance']:.0%})"
        for design, rows in shares.groupby("design", sort=False)
    ]
    return text + f"The start alone explains of the sum of squares {', '.join(parts)}."


def _diverted(more: Interval) -> str:
    """``more``: what noise inputs change in a search, less twice what they change under a code that is kept."""
    if more.low > 0:
        return "most of what they do, they do by diverting the search"
    if more.high < 0:
        return "what they do is not mainly to divert the search"
    return "whether most of what they do is to divert the search, this does not tell"


def convergence(spreads: pd.DataFrame, correlations: pd.DataFrame, fits: np.ndarray, *, resamples: int) -> str:
    """Reading of whether diversity is that of unfinished searches: against fit, and with more steps.

    ``fits`` says which fillings of LONG fit, as ``stochasticity.fitting``.
    """
    told = [f"{row['mean']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f}) in {row['space'].upper()}"
            for _, row in correlations.iterrows()]  # fmt: skip
    sure = correlations[correlations["low"] > 0]["space"].str.upper().tolist()
    known = spreads.pivot(index="face", columns="source", values="known")
    change = paired_difference(*(fractions(spreads, "lpips")[name] for name in (LONG, start("w"))), resamples=resamples)
    return (
        "Within a face, Spearman's correlation of a filling's error on the known pixels with its distance to the "
        f"others is {', '.join(told)}: "
        + (
            f"in {' and '.join(sure)} the odd ones fit worse. "
            if sure
            else "no space shows that the odd ones fit worse. "
        )
        + f"With more steps in W the error on the known pixels goes from {known[start('w')].mean():.2f} to "
        f"{known[LONG].mean():.2f} (a random face has {known[FACES].mean():.2f}), and hole LPIPS between fillings "
        f"changes by {change.value:+.2f} ({change.low:+.2f} to {change.high:+.2f}) of that between faces: "
        + _convergence(change)
        + f" Of the {fits.shape[1]} longer searches of a face, {fits.sum(axis=1).mean():.1f} on average fit, by the "
        f"measure of the claim below{'' if fits.all() else '; the others err more'}."
    )


def _convergence(change: Interval) -> str:
    if change.high < 0:
        return "some of the diversity is that of searches which were not finished."
    if change.low > 0:
        return "fillings move further apart as the search goes on."
    return "that the diversity is only that of unfinished searches, this does not show."


def truth(table: pd.DataFrame, spreads: pd.DataFrame, space: str) -> str:
    """Reading of ``stochasticity.truths``, and of how many fillings are distinct."""
    lines = []
    for name in (start(space), LONG, NOISE):
        of = table[table["source"] == name].set_index("measure")
        inside, odd = of.loc["inside"], of.loc["outlying"]
        word = "no certain sign that they are too narrow"
        if inside["high"] < inside["expected"]:
            word = "they are too narrow, overconfident"
        elif inside["low"] > inside["expected"]:
            word = "they are wider than need be"
        lines.append(
            f"* *{name}*: the truth lies within the fillings in {inside['mean']:.0%} of the hole's values "
            f"({inside['low']:.0%} to {inside['high']:.0%}; {inside['expected']:.0%} were it one of them): {word}. "
            f"{odd['mean']:.0%} of the fillings are closer to the others than the truth is (50% expected)."
        )
    counts = spreads.groupby("source")[["distinct", "levels"]].mean()
    told = [f"{counts.loc[name, 'distinct']:.1f} of {counts.loc[name, 'levels']:.0f} ({name})"
            for name in (start("z"), start("w"), start("w+"), FACES)]  # fmt: skip
    return "\n".join(lines) + f"\n\nDistinct beyond what noise inputs cause are on average {', '.join(told)}."


def theory(pinned: pd.DataFrame, explained: pd.DataFrame, fits: np.ndarray) -> str:
    """Reading of the spectra, and of how the linear theory's map compares with the observed one.

    ``fits`` is as in :func:`convergence`; the observed map is over all longer searches.
    """
    least, most = pinned.iloc[0], pinned.iloc[-1]
    row = explained.set_index("map").loc
    seen = row[SEEN]
    rivals = max(row[EDGE]["mean"], row[UNSEEN]["mean"])
    where = "does not tell *where* fillings differ"
    if seen["low"] > 0:
        where = "tells something of *where* fillings differ"
        where += "" if seen["low"] > rivals else ", though not certainly more than the other two"
    return (
        f"Of {most['of']:.0f} directions of the code the visible part pins down {_count(least)} with "
        f"{least['hidden']:.0%} hidden and {_count(most)} with {most['hidden']:.0%}; the others are free. "
        f"The theory's map of the standard deviation correlates with the observed one (of all longer searches, "
        f"{fits.mean():.0%} of which fit) by {_range(seen)}, where "
        f"the same map with nothing seen reaches {_range(row[UNSEEN])}, the distance to the edge {_range(row[EDGE])}, "
        f"and a perfect map about {row[CEILING]['mean']:.2f}: it {where}. "
        f"It foretells {seen['size']:.2f} ({seen['size_low']:.2f} to {seen['size_high']:.2f}) of *how much*: "
        f"{_size(seen)}."
    )


def _size(seen: pd.Series) -> str:
    if seen["size_high"] < 0.5:
        return (
            "far too little. Around one solution the visible part leaves less open than the fillings differ by, so "
            "most of their difference is that of searches which end at different places, fitting or not"
        )
    if seen["size_low"] > 2.0:
        return "too much. The fillings use only a part of what the visible part leaves open"
    if seen["size_low"] > 0.5 and seen["size_high"] < 2.0:
        return "about right. Around one solution the visible part leaves about as much open as the fillings differ by"
    return "the interval is too wide to tell whether that is too little"


def _count(row: pd.Series) -> str:
    return f"{row['mean']:.0f} ({row['low']:.0f} to {row['high']:.0f})"
