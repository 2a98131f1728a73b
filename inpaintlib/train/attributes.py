"""Training of the attribute classifiers ``attributes-guide`` and ``attributes-judge`` (``make train-attributes``).

Guide and judge are timm networks of different architectures, trained from nothing on disjoint halves of CelebA's
training faces (even and odd ones). The last faces of each half are kept back: on them every attribute's logit is
calibrated (Platt 1999). Scores are on the validation faces, which neither has seen.

``--architecture vit_base_patch16_224 --pretrained --learning-rate 5e-5`` starts from timm's weights instead, where they
can be had. Guide and judge must not share an architecture, so train them by one command each.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import average_precision_score
from torch import Tensor

from ..attributes import SHIPPED, AttributeNetwork
from ..checks import InpaintError, check_integer, check_number
from ..data import Labelled, load_celeba
from ..images import from_levels
from ..metrics import mean_interval
from ..scoreboard import MINORITY
from . import cli
from .faces import augmented, finished, half, one_cycle, split

__all__ = ["Settings", "calibrate", "evaluate", "main", "train"]

ARCHITECTURES = {
    "attributes-guide": ("xcit_nano_12_p8_224", {"img_size": 64, "depth": 4}),
    "attributes-judge": ("resnet10t", {}),
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Settings:
    """What defines a run; stored in the weights' metadata."""

    steps: int = 3000
    batch: int = 64
    learning_rate: float = 0.002  # peak of a one-cycle schedule
    weight_decay: float = 0.05
    mixup: float = 0.3  # both parameters of the beta distribution of mixing shares; 0 = no mixing
    calibration: int = 450  # faces of the half that are kept back
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "calibration"):
            check_integer(name, getattr(self, name), low=1)
        check_number("learning_rate", self.learning_rate, low=0.0, open_low=True)
        check_number("weight_decay", self.weight_decay, low=0.0)
        check_number("mixup", self.mixup, low=0.0)
        check_integer("seed", self.seed, low=0)


def train(model: AttributeNetwork, faces: Labelled, settings: Settings, *, device: str = "cpu",
          report=print) -> AttributeNetwork:  # fmt: skip
    """Returns the trained network (the average of its weights), not yet calibrated.

    Args:
        faces: the images of the network's own half, without those kept back.
        report: called with a line of text now and then.
    """
    images, labels = faces.images.to(device), faces.labels.to(device).float()
    rng = torch.Generator(device).manual_seed(settings.seed)
    numbers = np.random.default_rng(settings.seed)
    model = model.to(device).train()
    optimiser, schedule, average = one_cycle(
        model, learning_rate=settings.learning_rate, weight_decay=settings.weight_decay, steps=settings.steps
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(settings.seed)  # of dropout, where an architecture has any
        for step in range(settings.steps):
            index = torch.randint(len(images), (settings.batch,), generator=rng, device=rng.device)
            x, y = augmented(images[index], rng), labels[index]
            if settings.mixup > 0:
                share = float(numbers.beta(settings.mixup, settings.mixup))
                x, y = share * x + (1 - share) * x.flip(0), share * y + (1 - share) * y.flip(0)
            loss = F.binary_cross_entropy_with_logits(model.raw(x), y)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            average.update_parameters(model)
            if step % 250 == 0 or step == settings.steps - 1:
                report(f"step {step}  loss {loss.item():.4f}")
    return finished(average)


@torch.no_grad()
def _logits(call, data: Labelled, device: str) -> Tensor:
    return torch.cat([call(from_levels(part.to(device))).float().cpu() for part in data.images.split(250)])


def calibrate(model: AttributeNetwork, kept: Labelled, prior: Tensor, *, device: str = "cpu") -> AttributeNetwork:
    """Sets each attribute's slope and offset so that its logit's sigmoid is a probability on ``kept``; returns model.

    The fit of two numbers is by L-BFGS with Platt's smoothed targets, so that an attribute which no face of
    ``kept`` has stays finite. ``prior`` are the shares of the half, (A,).
    """
    raw = _logits(model.raw, kept, device).double()
    has, count = kept.labels.double(), len(kept.labels)
    yes = has.sum(0)
    target = torch.where(kept.labels, (yes + 1) / (yes + 2), 1 / (count - yes + 2))
    slope, offset = torch.ones(raw.shape[1]).double(), torch.zeros(raw.shape[1]).double()
    slope.requires_grad_(), offset.requires_grad_()
    optimiser = torch.optim.LBFGS([slope, offset], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.binary_cross_entropy_with_logits(slope * raw + offset, target, reduction="none").mean(0).sum()
        # Two numbers from few faces: a slope is held to be positive and near 1.
        loss = loss + 1e-3 * (slope - 1.0).square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        for name, value in (("slope", slope.clamp_min(0.05)), ("offset", offset), ("prior", prior.clamp(0.002, 0.998))):
            getattr(model, name).copy_(value)
    return model


def scores(
    logits: Tensor, evidence: Tensor, labels: Tensor, names: tuple[str, ...], *, resamples: int = 500
) -> list[dict]:
    """Returns a row an attribute: shares, balanced accuracy and average precision with 95 % intervals.

    Args:
        logits, evidence: (N, A), what ranks the faces, and what is above 0 where an attribute is decided to be there.
        labels: bool (N, A).

    A bootstrap resamples the faces of each side by itself, so that no resample is without one. The baselines are
    balanced accuracy 0.5 (majority and chance alike), accuracy of the majority, and average precision = the share.
    """
    rows = []
    for a, name in enumerate(names):
        y, decided, rank = labels[:, a].numpy(), (evidence[:, a] > 0).numpy(), logits[:, a].numpy()
        minority = int(min(y.sum(), (~y).sum()))
        row = {"attribute": name, "faces": len(y), "with": int(y.sum()), "minority": minority}
        row |= {"majority_accuracy": float(max(y.mean(), 1 - y.mean())), "accuracy": float((decided == y).mean())}
        if minority >= 2:
            sides = [np.flatnonzero(y), np.flatnonzero(~y)]
            rng = np.random.default_rng(a)
            draws = [np.concatenate([rng.choice(s, len(s)) for s in sides]) for _ in range(resamples)]
            balanced = lambda i, y=y, d=decided: 0.5 * (d[i][y[i]].mean() + (~d[i])[~y[i]].mean())  # noqa: E731
            precision = lambda i, y=y, r=rank: average_precision_score(y[i], r[i])  # noqa: E731
            whole = np.arange(len(y))
            for key, metric in (("balanced_accuracy", balanced), ("average_precision", precision)):
                low, high = np.quantile([metric(i) for i in draws], [0.025, 0.975])
                row |= {key: float(metric(whole)), f"{key}_low": float(low), f"{key}_high": float(high)}
        rows.append(row)
    return rows


def means(rows: list[dict]) -> dict[str, float]:
    """Returns the means over attributes with at least ``MINORITY`` faces on either side, with intervals over them."""
    counted = [r for r in rows if r["minority"] >= MINORITY]
    if not counted:
        return {"attributes_counted": 0}
    out: dict[str, float] = {"attributes_counted": len(counted)}
    for key in ("balanced_accuracy", "average_precision"):
        value, low, high = mean_interval([r[key] for r in counted])
        out |= {key: value, f"{key}_low": low, f"{key}_high": high}
    out["average_precision_chance"] = float(np.mean([r["with"] / r["faces"] for r in counted]))
    out["accuracy"] = float(np.mean([r["accuracy"] for r in rows]))
    out["majority_accuracy"] = float(np.mean([r["majority_accuracy"] for r in rows]))
    return out


def evaluate(model: AttributeNetwork, faces: Labelled, *, device: str = "cpu") -> dict:
    """Returns ``{"attributes": a row each, "means": ..., "calibration_error": ...}`` on faces that it has not seen."""
    logits = _logits(model, faces, device)
    rows = scores(logits, model.cpu().evidence(logits), faces.labels, faces.names)
    p, y = torch.sigmoid(logits).flatten(), faces.labels.float().flatten()
    bins = (p * 10).long().clamp_max(9)
    gaps = [((p[bins == b].mean() - y[bins == b].mean()).abs() * (bins == b).float().mean()) for b in bins.unique()]
    return {"attributes": rows, "means": means(rows), "calibration_error": float(torch.stack(gaps).sum())}


def _architecture(args: argparse.Namespace) -> dict:
    """The arguments of the network: the shipped architecture, or the one asked for with timm's preprocessing."""
    if args.pretrained and not args.architecture:
        raise InpaintError("--pretrained needs --architecture: timm has no weights of the shipped architectures")
    if args.pretrained and args.learning_rate == Settings.learning_rate:
        raise InpaintError(
            f"--pretrained needs a --learning-rate such as 5e-5; {args.learning_rate} undoes the weights"
        )
    mirror = args.name.endswith("-judge")  # a judge is asked seldom, so it may look twice
    if not args.architecture:
        architecture, options = ARCHITECTURES[args.name]
        return {"architecture": architecture, "options": options, "mirror": mirror}
    import timm

    facts = timm.get_pretrained_cfg(args.architecture)
    if facts is None:
        raise InpaintError(f"--architecture must be one that timm knows; got {args.architecture!r}")
    size = facts.input_size[-1]
    return {"architecture": args.architecture, "size": size, "mean": facts.mean, "std": facts.std, "mirror": mirror}


def _network(args: argparse.Namespace, arguments: dict, names: tuple[str, ...]) -> AttributeNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(args.seed)
        model = AttributeNetwork(**arguments, attributes=names)
        if args.pretrained:  # with a new head, which is drawn too
            model.network.load_state_dict(_pretrained(args.architecture, len(names)))
    return model


def _pretrained(architecture: str, outputs: int) -> dict[str, Tensor]:
    import timm

    try:
        return timm.create_model(architecture, pretrained=True, num_classes=outputs).state_dict()
    except (RuntimeError, OSError) as error:
        raise InpaintError(
            f"--pretrained needs timm's weights of {architecture} in the Hub's cache or a network; found neither"
            f" ({str(error).splitlines()[0]})"
        ) from None


def main(argv: list[str] | None = None) -> int:
    parser = cli.parser("attributes", __doc__, SHIPPED, "CelebA", Settings)
    parser.add_argument("--architecture", help="a timm architecture instead of the shipped one")
    parser.add_argument("--pretrained", action="store_true", help="start from timm's weights of --architecture")
    return cli.run(parser.parse_args(argv), Settings, _work)


def _work(args: argparse.Namespace, settings: Settings) -> tuple[AttributeNetwork, dict[str, str]]:
    arguments = _architecture(args)
    faces, held_out = half(load_celeba(args.data), args.name), load_celeba(args.data, "val")
    training, kept = split(faces, settings.calibration)
    model = train(_network(args, arguments, faces.names), training, settings, device=args.device, report=cli.say)
    calibrate(model, kept, faces.labels.float().mean(0), device=args.device)
    found = evaluate(model, held_out, device=args.device)
    cli.say(json.dumps(found["means"]))
    return model, {"scores": json.dumps(found), "start": "timm's weights" if args.pretrained else "random weights"}


if __name__ == "__main__":
    sys.exit(main())
