"""The sentences of the reports, computed from their tables: no number in a report's text is typed by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from .clip import Clip, MiniClip
from .judging import saved
from .metrics import Interval
from .scoreboard import MINORITY, mean_score

__all__ = ["deviation", "generic", "lpips", "naive_mse", "networks", "steering", "truncation", "variants", "vocabulary"]


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


def networks(scores: pd.DataFrame) -> str:
    """Reading of :func:`inpaintlib.scoreboard.network_scores`."""
    lines = []
    for network, rows in scores.groupby("network", sort=False):
        counted = rows[rows["minority"] >= MINORITY]
        balanced, precision = (mean_score(scores, network, k) for k in ("balanced_accuracy", "average_precision"))
        lines.append(
            f"* `{network}`: balanced accuracy {balanced} (chance and majority 0.5), average precision {precision} "
            f"(chance {(counted['with'] / counted['faces']).mean():.3f}); means over {len(counted)} attributes with at "
            f"least {MINORITY} faces on either side, with 95 % intervals over attributes."
        )
    return f"On {int(scores['faces'].max())} faces that no network was trained on:\n\n" + "\n".join(lines)


def vocabulary(clip: Clip, name: str) -> str:
    """Says which words a CLIP knows."""
    if not isinstance(clip, MiniClip):
        return f"`{name}` reads any word: it was trained on pictures and sentences of the web."
    listed = ", ".join(clip.numbers)
    return f"`{name}` is a small CLIP of ours and knows these {len(clip.numbers)} words and no others: {listed}."


def steering(success: pd.DataFrame, costs: pd.DataFrame, drifts: pd.DataFrame, natural: pd.DataFrame,
             fooled: Interval, names: Sequence[str], contrast: str, guide: str) -> str:  # fmt: skip
    """Reading of the tables of :mod:`inpaintlib.judging`: success of each case, fooling, cost, drift, naturalness.

    Args:
        fooled: what the climbed network gained more than the judge.
        names: of the cases' searches; ``contrast`` is that whose hidden part does not show its attribute.
        guide: the observer that was climbed.
    """
    lines = []
    for name in (*names, contrast):
        seen = success[success["method"] == name].set_index("observer")
        aside = " (the contrast: its hidden part does not show the attribute)" if name == contrast else ""
        wish = costs[(costs["method"] == name) & (costs["metric"] == "wish")].iloc[0]
        lines.append(
            f"* *{name}*{aside}: {_gain(seen.loc['judge'])}; the judge's probability of the wish goes from "
            f"{wish['before']:.2f} to {wish['after']:.2f}. {_why_not(seen, guide)}"
        )
    main = success[success["method"].isin(names)].groupby("observer")["after"].mean()
    verb = "fooled" if fooled.low > 0 else "not fooled" if fooled.high <= 0 else "perhaps fooled"
    return (
        "Success of the wish, as the judge of another architecture and other training images sees it:\n\n"
        + "\n".join(lines)
        + f"\n\nOver the cases the climbed network sees {main[guide]:.0%} success, the judge {main['judge']:.0%}; "
        f"the first's gain is larger by {fooled.value:+.2f} ({fooled.low:+.2f} to {fooled.high:+.2f}): it was {verb}. "
        + _cost(costs, names) + " " + _moved(drifts, names) + "\n\n" + _natural(natural)
    )  # fmt: skip


def _gain(row: pd.Series) -> str:
    found = Interval(*row[["mean", "low", "high"]])
    return (
        f"{row['before']:.0%} of the faces without the wish, {row['after']:.0%} with it, a paired gain of "
        f"{found.value:+.2f} ({found.low:+.2f} to {found.high:+.2f}; {_sides(found)})"
    )


def _why_not(seen: pd.DataFrame, guide: str) -> str:
    """Says, of a case without a certain gain, what its rates tell of the reason."""
    judge, climbed = seen.loc["judge"], seen.loc[guide]
    if judge["low"] > 0:
        return f"The climbed network sees {climbed['after']:.0%}."
    if judge["before"] >= 0.75:
        return "Most faces fulfil it without steering: there is little to gain."
    if judge["after"] >= 0.75:
        return f"Most faces fulfil it in the end, but many did so anyway: {judge['n']} faces are too few to tell."
    if climbed["after"] - judge["after"] > 0.25:
        return f"The climbed network sees {climbed['after']:.0%}: it was pleased by what the judge does not see."
    return (
        f"The climbed network sees {climbed['after']:.0%} itself: the wish lost against the known pixels, or the "
        "generator does not draw it there."
    )


def _cost(costs: pd.DataFrame, names: Sequence[str]) -> str:
    mean = costs[costs["method"].isin(names)].groupby("metric")[["before", "after"]].mean()
    known, drift, real = mean.loc["known_mse"], mean.loc["drift"], mean.loc["realism"]
    return (
        f"The squared error of $G(w)$ on the known pixels goes from {known['before']:.4f} without a wish to "
        f"{known['after']:.4f} on average; the discriminator's logit of the inpainted faces from {real['before']:.2f} "
        f"to {real['after']:.2f}. The judge's probability of the attributes that nobody wished for moves by "
        f"{drift['after']:.3f} on average, where inpainting without a wish moves it by {drift['before']:.3f} from the "
        "target."
    )


def _moved(drifts: pd.DataFrame, names: Sequence[str]) -> str:
    rows = drifts[drifts["method"].isin(names)]
    most = rows.loc[rows["change"].abs().idxmax()]
    return f"What moves most beside a wish is `{most['attribute']}` by {most['change']:+.2f} with *{most['method']}*."


def _natural(natural: pd.DataFrame) -> str:
    told = [f"{r.images} {r.kid:.3f} ({r.low:.3f} to {r.high:.3f})" for r in natural.itertuples()]
    return f"KID to other generated faces, in the judge's features: {'; '.join(told)}."


def variants(table: pd.DataFrame, success: pd.DataFrame, base: str, others: Sequence[str], *, resamples: int) -> str:
    """Reading of the variants of a case's search: judged success, and known-pixel error against the plain one's."""
    seen = success[success["observer"] == "judge"].set_index("method")["after"]
    lines = [f"* *{base}*: {seen[base]:.0%} success."]
    for name in others:
        more = saved(table, name, base, "known_mse_after", resamples=resamples)
        lines.append(
            f"* *{name}*: {seen[name]:.0%} success; known-pixel error {more.value:+.4f} ({more.low:+.4f} to "
            f"{more.high:+.4f}; {_sides(more)})."
        )
    return (
        "The first case's search, changed in one thing at a time (two phases bring the pull towards the fitted code "
        "with them):\n\n" + "\n".join(lines)
    )


def generic(effect: Interval, costs: pd.DataFrame, prompts: Sequence[str], classifiers: Sequence[str], network: str,
            *, learnt: bool) -> str:  # fmt: skip
    """Reading of claim C4: success by prompt less success by classifier, and what either did to the known pixels."""
    known = costs[costs["metric"] == "known_mse"].set_index("method")["after"]
    text = (
        f"By prompt the judged success is {effect.value:+.2f} ({effect.low:+.2f} to {effect.high:+.2f}) against the "
        f"same wishes as classifier targets. The two did not pull alike: the known pixels' error is "
        f"{known[list(prompts)].mean():.4f} by prompt and {known[list(classifiers)].mean():.4f} by classifier. "
    )
    if not learnt:
        return text + f"`{network}` was not trained on these attributes, so this speaks for or against the claim."
    return text + (
        f"And `{network}` is a small CLIP that learnt from captions written from the same attributes: it cannot show "
        "that a prompt reaches further than a classifier, so the claim stays *undecided* here whatever the numbers. "
        'With `clip_network: "ViT-B-16/openai"`, which never saw these labels, the same tables decide it: supported '
        "if its prompts succeed about as often as the classifier's targets, and words such as those listed as unknown "
        "above become possible."
    )
