"""The sentences of the reports, computed from their tables: no number in a report's text is typed by hand."""

from __future__ import annotations

import pandas as pd

from .metrics import Interval

__all__ = ["deviation", "lpips", "naive_mse", "truncation"]


def _mean(scores: pd.DataFrame, method: str, metric: str, region: str) -> float:
    rows = scores[(scores.method == method) & (scores.region == region)]
    return float(rows[metric].mean())


def _share(effect: Interval, base: float) -> str:
    return f"{abs(effect.value) / base:.0%}"


def _sides(effect: Interval) -> str:
    """What an interval says about the sign of its effect."""
    if effect.low > 0:
        return "the interval lies above 0"
    return "the interval lies below 0" if effect.high < 0 else "the interval contains 0"


def truncation(table: pd.DataFrame) -> str:
    """Reading of :func:`inpaintlib.probes.truncation_table`."""
    ends = {}
    for metric in ("diversity", "realism"):
        rows = table[table.metric == metric].sort_values("method", key=lambda psi: psi.astype(float))
        ends[metric] = rows.iloc[0], rows.iloc[-1]
    (d0, d1), (r0, r1) = ends["diversity"], ends["realism"]
    text = (
        f"From truncation {d0['method']} to {d1['method']} the diversity goes from {d0['mean']:.3f} to "
        f"{d1['mean']:.3f}, and the discriminator's logit from {r0['mean']:.2f} to {r1['mean']:.2f}. "
    )
    costs = "costs diversity" if d0["high"] < d1["low"] else "costs no certain diversity"
    if r0["low"] > r1["high"]:
        return text + f"Truncation {costs} and buys realism, as this discriminator sees it."
    if r0["high"] < r1["low"]:
        return text + f"To this discriminator truncated faces look *less* real; truncation {costs}, for nothing."
    return text + f"The intervals of realism overlap: truncation {costs} and buys no certain realism."


def deviation(table: pd.DataFrame) -> str:
    """Reading of :func:`inpaintlib.probes.deviation_table`."""
    noise, code = table["mean deviation"]
    return (
        f"Fresh noise moves a pixel by {noise:.3f} on average, another code by {code:.3f}, on the range [-1, 1]: of "
        f"the two squares' sum, noise makes up {noise**2 / (noise**2 + code**2):.1%}. "
        + (
            "What a hole shows is decided by the code, hardly by the noise."
            if noise < 0.2 * code
            else "Code and noise both decide, visibly, what a hole shows."
            if noise < code
            else "More than by its code, a picture is decided by its noise."
        )
    )


def naive_mse(effect: Interval, scores: pd.DataFrame, photo: pd.DataFrame) -> str:
    """Reading of the report ``naive_mse``; ``effect`` is mean code minus naive MSE in hole LPIPS."""
    base = _mean(scores, "mean code", "lpips", "hole")
    known, hole = (_mean(scores, "naive MSE", "psnr", region) for region in ("known", "hole"))
    photo_known, photo_hole = (_mean(photo, "naive MSE", "psnr", region) for region in ("known", "hole"))
    word = "better" if effect.value > 0 else "worse"
    return (
        f"Against pasting in the mean face, the search is {word} in hole LPIPS by {abs(effect.value):.3f} "
        f"({_share(effect, base)} of the baseline; 95 % interval {effect.low:.3f} to {effect.high:.3f}; "
        f"{_sides(effect)}).\n\n"
        f"On generated faces $G(w)$ reaches {known:.1f} dB on the known pixels and {hole:.1f} dB in the hole that it "
        f"never saw. On the photograph it reaches {photo_known:.1f} dB and {photo_hole:.1f} dB: "
        + (
            "what is visible is matched less well there, as no code need give a photograph."
            if photo_known < known
            else "what is visible is matched no worse there."
        )
    )


def lpips(scores: pd.DataFrame, differences: pd.DataFrame, alone: str, long: str, main: str, effect: Interval) -> str:
    """Reading of the report ``mse_lpips``.

    ``effect`` is the method ``alone`` minus ``main`` in hole LPIPS; ``long`` is ``alone`` with more steps.
    """
    base = _mean(scores, alone, "lpips", "hole")
    word = "lowers" if effect.value > 0 else "raises"
    psnr = _mean(scores, main, "psnr", "hole") - _mean(scores, alone, "psnr", "hole")
    text = (
        f"Adding LPIPS {word} hole LPIPS by {abs(effect.value):.4f} ({_share(effect, base)} of what *{alone}* "
        f"leaves; 95 % interval of the paired difference {effect.low:.4f} to {effect.high:.4f}; {_sides(effect)}). "
        f"Hole PSNR changes by {psnr:+.2f} dB.\n\n" + _why(scores, alone, long, main, gain=effect.low > 0)
    )
    lines = []
    for row in differences.itertuples():
        found = Interval(row.difference, row.low, row.high)
        lines.append(
            f"* against {row.against}: {found.value:+.4f} ({found.low:.4f} to {found.high:.4f}), {_sides(found)}."
        )
    best = scores[scores.region == "hole"].groupby("method", sort=False)["lpips"].mean().idxmin()
    return (
        text + f"Hole LPIPS that *{main}* saves, positive = better than the other:\n\n" + "\n".join(lines)
        + f"\n\nThe lowest hole LPIPS of all is that of *{best}*. Without any search the mean code leaves "
        f"{_mean(scores, 'mean code', 'lpips', 'hole'):.2f}, *{alone}* {base:.2f}, *{main}* "
        f"{_mean(scores, main, 'lpips', 'hole'):.2f}." + _default(differences, main)
    )  # fmt: skip


def _default(differences: pd.DataFrame, main: str) -> str:
    """Says so if another method fills the hole better than the one that the claim is tested with."""
    better = [f"*{row.against}*" for row in differences.itertuples() if row.high < 0]
    if not better:
        return ""
    return f" So by this measure {' and '.join(better)} fill these holes better than *{main}*, the library's default."


def _why(scores: pd.DataFrame, alone: str, long: str, main: str, *, gain: bool) -> str:
    """Says how the known pixels are fitted and, if there is a gain in the hole, whether it comes from the perceptual
    term's measure or from a better optimisation.
    """
    known = {name: _mean(scores, name, "psnr", "known") for name in (alone, long, main)}
    text = f"On the known pixels *{alone}* reaches {known[alone]:.1f} dB, *{long}* {known[long]:.1f} dB and *{main}* "
    text += f"{known[main]:.1f} dB. "
    if not gain:
        return text + "\n\n"
    if known[main] > known[long]:
        return text + (
            "With LPIPS even the squared error itself ends lower: MSE alone had not reached its minimum, and part of "
            "the gain is a better conditioned search, not a better criterion.\n\n"
        )
    if known[main] > known[alone]:
        return text + "Given more steps MSE alone fits the known pixels best; what remains is the criterion's.\n\n"
    return text + "MSE alone fits the known pixels best, so the gain is the criterion's.\n\n"
