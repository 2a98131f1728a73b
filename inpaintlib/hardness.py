"""Claim C6, that some masks are harder than others, and the sentences of the report ``mask_robustness``."""

from __future__ import annotations

import pandas as pd
import scipy.stats

from .checks import InpaintError
from .experiments import BASELINE, verdict
from .metrics import Interval, paired_difference, relative_difference
from .robustness import GROUPS, SEARCH

__all__ = ["C6", "compared", "contrasts", "corrupted", "friedman", "grid", "no_photographs", "on_photographs", "places",
           "stable", "verdicts"]  # fmt: skip

C6 = {
    "C6-coverage": (
        "The more is hidden, the harder the mask (tested: hole LPIPS with the largest coverage is at least "
        "{noticeable:.0%} above that with the smallest, over the families that have both)"
    ),
    "C6-shape": (
        "It matters whether a hole is one piece or single pixels (tested: hole LPIPS of center and scatter differ by "
        "at least {noticeable:.0%} of the smaller, over all coverages; the effect is center less scatter, "
        "part of which the baseline without a search may show too)"
    ),
    "C6-position": (
        "It matters which side is hidden (tested: hole LPIPS of bottom and top differ by at least {noticeable:.0%} of "
        "the smaller, at a coverage of {coverage:g}, and Friedman's test finds the four sides unlike, p < {level:g}; "
        "the effect is bottom less top)"
    ),
    "C6": (
        "Some masks are more difficult than others, by shape, position and covered fraction (tested: each of the three "
        "as stated; the effect is the smallest of theirs, without its direction)"
    ),
}
LEVEL = 0.05  # of Friedman's test


def _per_face(table: pd.DataFrame, method: str, metric: str = "lpips") -> pd.DataFrame:
    """A score, a row a face and a column a (family, coverage)."""
    return table[table["method"] == method].pivot(index="image", columns=["family", "coverage"], values=metric)


def _with_both(table: pd.DataFrame) -> list[str]:
    """The families that have a mask of the smallest and one of the largest coverage."""
    coverages = table["coverage"]
    few, many = (set(table["family"][coverages == c]) for c in (coverages.min(), coverages.max()))
    return [family for family in dict.fromkeys(table["family"]) if family in few & many]


def contrasts(table: pd.DataFrame, *, position_coverage: float, resamples: int, method: str = SEARCH,
              metric: str = "lpips", relative: bool = True) -> dict[str, Interval]:  # fmt: skip
    """Returns the contrasts of claim C6, fixed beforehand: paired differences of a score over the faces.

    ``coverage``: the largest less the smallest, mean of the families that have both; ``shape``: center less scatter,
    mean of all coverages; ``position``: bottom less top, at one coverage. Each has its 95 % bootstrap interval.

    Args:
        table: of :func:`~inpaintlib.robustness.scores`.
        relative: divide by the smaller of the two means, drawn anew with the faces of each resample.

    Raises:
        InpaintError: if a family or coverage that is compared is not there.
    """
    wide = _per_face(table, method, metric)
    coverages = sorted(set(table["coverage"]))
    low, high = coverages[0], coverages[-1]
    both = _with_both(table) if low < high else []
    pairs = {
        "coverage": ([(family, high) for family in both], [(family, low) for family in both]),
        "shape": ([("center", c) for c in coverages], [("scatter", c) for c in coverages]),
        "position": ([("bottom", position_coverage)], [("top", position_coverage)]),
    }
    found = {}
    for name, (first, second) in pairs.items():
        missing = {*first, *second} - set(wide.columns)
        if missing or not first:
            lacking = ", ".join(f"{family} at {c:g}" for family, c in sorted(missing)) or "a second coverage"
            raise InpaintError(f"the grid must hold what the contrast of {name} compares; it lacks {lacking}")
        a, b = wide[first].mean(axis=1), wide[second].mean(axis=1)
        if relative:
            found[name] = relative_difference(a, b, min(a, b, key=pd.Series.mean), resamples=resamples)
        else:
            found[name] = paired_difference(a, b, resamples=resamples)
    return found


def friedman(table: pd.DataFrame, *, position_coverage: float, method: str = SEARCH) -> float:
    """Returns p of Friedman's test (1937, by scipy) that the four sides are equally hard, from the ranks in each face.

    It looks at all four without choosing the most different two, whose difference would be too large by that choice.
    """
    wide = _per_face(table, method)
    sides = [wide[side, position_coverage].to_numpy() for side in GROUPS["side"]]
    return float(scipy.stats.friedmanchisquare(*sides).pvalue)


def _size(effect: Interval) -> Interval:
    """An effect without its direction."""
    return effect if effect.value >= 0 else Interval(-effect.value, -effect.high, -effect.low)


def _either_way(effect: Interval, noticeable: float) -> str:
    """Supported if the interval lies beyond ``noticeable`` on either side of 0, not supported if it lies within."""
    size = _size(effect)
    found = verdict(size, least=noticeable)
    return "undecided" if found == "not supported" and size.low <= -noticeable else found


def verdicts(table: pd.DataFrame, *, noticeable: float, position_coverage: float,
             resamples: int) -> dict[str, tuple[str, Interval, str]]:  # fmt: skip
    """Returns claim -> its statement, its effect (a relative difference), and its verdict; C6 itself is the last.

    Args:
        table: of :func:`scores`.
        noticeable: least relative difference that counts.
    """
    effects = contrasts(table, position_coverage=position_coverage, resamples=resamples)
    decided = {"coverage": verdict(effects["coverage"], least=noticeable)}
    decided |= {name: _either_way(effects[name], noticeable) for name in ("shape", "position")}
    if decided["position"] == "supported" and friedman(table, position_coverage=position_coverage) >= LEVEL:
        decided["position"] = "undecided"
    words = set(decided.values())
    overall = "not supported" if "not supported" in words else "supported" if words == {"supported"} else "undecided"
    sizes = [effects["coverage"], _size(effects["shape"]), _size(effects["position"])]
    smallest = min(sizes, key=lambda size: size.value)
    found = {f"C6-{name}": (effects[name], decided[name]) for name in effects} | {"C6": (smallest, overall)}
    options = {"noticeable": noticeable, "coverage": position_coverage, "level": LEVEL}
    return {claim: (C6[claim].format(**options), *rest) for claim, rest in found.items()}


def _mean(table: pd.DataFrame, method: str, metric: str, **where: object) -> float:
    rows = table[table["method"] == method]
    for column, value in where.items():
        rows = rows[rows[column] == value]
    return float(rows[metric].mean())


def _relative(effect: Interval) -> str:
    value, low, high = (f"{round(x, 2) + 0.0:+.0%}" for x in effect)  # never -0%
    return f"{value} ({low} to {high})"


def grid(table: pd.DataFrame, *, chance: float, resamples: int) -> str:
    """Reading of :func:`~inpaintlib.robustness.scores`: masks against the baseline, extremes, agreement.

    Args:
        chance: agreement between two different targets.
    """
    better = 0
    for _, rows in table.groupby("mask"):
        wide = rows.pivot(index="image", columns="method", values="lpips")
        better += paired_difference(wide[BASELINE], wide[SEARCH], resamples=resamples).low > 0
    lines = []
    for coverage, rows in table.groupby("coverage"):
        means = rows[rows["method"] == SEARCH].groupby("family", sort=False)["lpips"].mean()
        lines.append(
            f"* {coverage:.0%} hidden: from {means.min():.2f} (*{means.idxmin()}*) to {means.max():.2f} "
            f"(*{means.idxmax()}*); the mean code leaves {_mean(table, BASELINE, 'lpips', coverage=coverage):.2f}."
        )
    few, many = table["coverage"].min(), table["coverage"].max()
    both = table[table["family"].isin(_with_both(table))]
    alike = [_mean(both, method, "agreement", coverage=c) for c in (few, many) for method in (SEARCH, BASELINE)]
    return (
        f"The search fills {better} of {table['mask'].nunique()} masks better than the mean code: there the interval "
        "of the paired difference of hole LPIPS lies above 0. Mean hole LPIPS goes\n\n" + "\n".join(lines)
        + f"\n\nUnder the families that have both, the judge decides {alike[0]:.0%} of the attributes as in the target "
        f"where {few:.0%} is hidden (mean code {alike[1]:.0%}) and {alike[2]:.0%} where {many:.0%} is (mean code "
        f"{alike[3]:.0%}); two different faces agree on {chance:.0%}. The easiest and the hardest are named after "
        "looking: their distance is no test."
    )  # fmt: skip


def places(table: pd.DataFrame) -> str:
    """Reading of :func:`~inpaintlib.robustness.part_difficulty`."""
    told = [f"{row.part} {row.mean:.2f} ({row.low:.2f} to {row.high:.2f})" for row in table.itertuples()]
    certain = {"harder": table[table["low"] > 1]["part"], "easier": table[table["high"] < 1]["part"]}
    said = [f"certainly {word} than what is hidden with it: {', '.join(parts)}"
            for word, parts in certain.items() if len(parts)]  # fmt: skip
    return (
        f"Error of a hidden pixel, as a multiple of its hole's mean: {'; '.join(told)}. "
        f"By the intervals, {'; '.join(said) or 'no part differs certainly from what is hidden with it'}."
    )


def stable(table: pd.DataFrame) -> str:
    """Reading of :func:`~inpaintlib.corruptions.stability_summary`; the last shift's change decides the word."""
    lines = []
    for metric, name in (("lpips", "hole LPIPS"), ("filling", "the filling itself")):
        rows = table[table["metric"] == metric]
        moved = [f"{row.ratio:.2f} times as much at {row.change} ({row.ratio_low:.2f} to {row.ratio_high:.2f})"
                 for row in rows[rows["change"] != "other start"].itertuples()]  # fmt: skip
        start = rows[rows["change"] == "other start"].iloc[0]
        lines.append(
            f"* {name}: another start changes it by {start['mean']:.3f} ({start['low']:.3f} to {start['high']:.3f}); "
            f"a shifted mask {', '.join(moved)}."
        )
    last = table[(table["metric"] == "filling") & (table["change"] != "other start")].iloc[-1]
    word = ("stable under shifts" if last["ratio_high"] < 1 else "unstable under shifts" if last["ratio_low"] > 1
            else "perhaps stable under shifts")  # fmt: skip
    return (
        "\n".join(lines) + f"\n\nThe filling is *{word}*: moving the mask by {last['change']} changes it "
        f"{last['ratio']:.2f} times as much as starting elsewhere does (95 % interval {last['ratio_low']:.2f} to "
        f"{last['ratio_high']:.2f}, below 1 is called stable)."
    )


def corrupted(table: pd.DataFrame, *, resamples: int) -> str:
    """Reading of :func:`~inpaintlib.corruptions.corruption_scores`: each level against clean, paired over the faces."""
    found = table[table["method"] == SEARCH]
    clean = found[found["kind"] == "clean"].set_index("image")["lpips"]
    told = []
    for (kind, level), rows in found[found["kind"] != "clean"].groupby(["kind", "level"], sort=False):
        relative = relative_difference(rows.set_index("image")["lpips"], clean, clean, resamples=resamples)
        told.append(f"* {kind} {level:g}: {_relative(relative)}.")
    return (
        f"From clean known pixels hole LPIPS is {clean.mean():.2f} (mean code {_mean(table, BASELINE, 'lpips'):.2f}). "
        "By what the search saw instead it changes, relative to that:\n\n" + "\n".join(told)
    )


def no_photographs(asked: int) -> str:
    """Says why there are no photographs."""
    why = "`INPAINTLIB_DATA` names no folder of them" if asked else "the parameter `photos` is 0"
    return (
        f"Photographs are left out here: {why}. With `photos` above 0 and `INPAINTLIB_DATA` set, as in the profile "
        "`full`, held-out CelebA faces are filled under the same masks."
    )


def on_photographs(generated: pd.DataFrame, photographs: pd.DataFrame | None) -> str:
    """Reading of the scores of both kinds of faces, over the families of the second; "" without photographs."""
    if photographs is None:
        return ""
    families = set(photographs["family"])
    same = generated[generated["family"].isin(families)]
    numbers = [_mean(table, method, "lpips") for table in (same, photographs) for method in (SEARCH, BASELINE)]
    return (
        f"\n\nOver {', '.join(sorted(families))}, hole LPIPS is {numbers[0]:.2f} on {same['image'].nunique()} "
        f"generated faces (mean code {numbers[1]:.2f}) and {numbers[2]:.2f} on {photographs['image'].nunique()} "
        f"held-out photographs (mean code {numbers[3]:.2f})."
    )


def compared(table: pd.DataFrame, *, position_coverage: float, resamples: int) -> str:
    """Reading of claim C6: its contrasts, and what they are of the baseline, which no search made, and of PSNR."""
    options = {"position_coverage": position_coverage, "resamples": resamples}
    found, base = (contrasts(table, method=method, **options) for method in (SEARCH, BASELINE))
    decibels = contrasts(table, metric="psnr", relative=False, **options)
    names = {"coverage": "largest less smallest coverage", "shape": "center less scatter",
             "position": "bottom less top"}  # fmt: skip
    lines = [f"* {name}: {_relative(found[key])}; of the mean code {_relative(base[key])}; hole PSNR "
             f"{decibels[key].value:+.1f} dB ({decibels[key].low:+.1f} to {decibels[key].high:+.1f})."
             for key, name in names.items()]  # fmt: skip
    return (
        "Relative differences of hole LPIPS, where above 0 the first is harder:\n\n" + "\n".join(lines)
        + f"\n\nFriedman's test over the four sides: p = {friedman(table, position_coverage=position_coverage):.2g}. "
        "What the mean code shows as well lies in the faces and in the measure, not in the search: a small hole is "
        "judged with much known picture around it, and scattered pixels are judged together with their neighbours."
    )  # fmt: skip
