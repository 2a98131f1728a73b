"""Training of the small CLIP models ``clip-guide`` and ``clip-judge`` (``make train-clip``).

Images and captions meet in every combination, as CLIP's training has it. But these captions are written from the
faces' attributes, so that of every pair of a batch it is known whether the caption is *true of* the face, be it its
own or not: "a smiling woman" is true of many. So the loss is that of Zhai et al. 2023 ("Sigmoid loss for language
image pre-training"), a decision for every pair, with the pairs' truth in place of the identity:

    loss = mean_j [ mean_{i: true} softplus(-l_ij) + mean_{i: false} softplus(l_ij) ] / 2,   l_ij = s cos(I_i, T_j) + b

Each caption's true and false faces weigh the same, so that a rare attribute is not lost to its absence. Guide and
judge have different image towers (``models/clip-*.json``) and see disjoint halves of the training faces.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import sys
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..captions import PHRASES, Caption, opposites, vocabulary, write
from ..checks import InpaintError, check_integer, check_number
from ..clip import SHIPPED, Clip, MiniClip
from ..data import Labelled, load_celeba
from ..images import from_levels
from ..weights import MODELS, build, load_weights
from . import cli
from .attributes import scores
from .faces import augmented, finished, half, one_cycle

__all__ = ["Settings", "evaluate", "main", "pair_loss", "train"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What defines a run; stored in the weights' metadata."""

    steps: int = 3000
    batch: int = 64
    captions: int = 128
    learning_rate: float = 0.002  # peak of a one-cycle schedule
    weight_decay: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "captions"):
            check_integer(name, getattr(self, name), low=1)
        check_number("learning_rate", self.learning_rate, low=0.0, open_low=True)
        check_number("weight_decay", self.weight_decay, low=0.0)
        check_integer("seed", self.seed, low=0)


def pair_loss(logits: Tensor, true: Tensor) -> Tensor:
    """Returns the loss of logits (images, captions) of which ``true`` (bool, same shape) says what is so.

    A caption that is true of all images or of none counts with the side that it has.

    Example:
        >>> logits, true = torch.tensor([[0.0], [0.0], [0.0]]), torch.tensor([[True], [False], [False]])
        >>> round(float(pair_loss(logits, true)), 4)
        0.6931
    """
    yes, no = true.float(), (~true).float()
    sides = []
    for side, values in ((yes, F.softplus(-logits)), (no, F.softplus(logits))):
        sides.append((values * side).sum(0) / side.sum(0).clamp_min(1.0))
    present = (yes.any(0).float() + no.any(0).float()).clamp_min(1.0)
    return ((sides[0] + sides[1]) / present).mean()


def _captions(labels: np.ndarray, names: Sequence[str], count: int, rng: np.random.Generator) -> list[Caption]:
    """Captions of random faces of a batch, each true of at least one."""
    return [write(labels[int(rng.integers(len(labels)))], names, rng) for _ in range(count)]


def train(model: Clip, faces: Labelled, settings: Settings, *, device: str = "cpu", report=print) -> MiniClip:
    """Returns the trained model (the average of its weights).

    Args:
        faces: the images of the model's own half.
        report: called with a line of text now and then.
    """
    images, labels = faces.images.to(device), faces.labels.numpy()
    rng = torch.Generator(device).manual_seed(settings.seed)
    numbers = np.random.default_rng(settings.seed)
    model = model.to(device).train()
    optimiser, schedule, average = one_cycle(
        model, learning_rate=settings.learning_rate, weight_decay=settings.weight_decay, steps=settings.steps
    )
    for step in range(settings.steps):
        index = torch.randint(len(images), (settings.batch,), generator=rng, device=rng.device)
        here = labels[index.cpu().numpy()]
        texts = _captions(here, faces.names, settings.captions, numbers)
        true = torch.from_numpy(np.stack([c.true_of(here, faces.names) for c in texts], axis=1)).to(device)
        tokens = model.read([c.text for c in texts]).to(device)
        pictures = model.embed_images(augmented(images[index], rng))
        logits = model.model.logit_scale.exp() * pictures @ model.model.encode_text(tokens, normalize=True).T
        loss = pair_loss(logits + model.model.logit_bias, true)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        average.update_parameters(model)
        if step % 250 == 0 or step == settings.steps - 1:
            right = float(((logits + model.model.logit_bias > 0) == true).float().mean())
            report(f"step {step}  loss {loss.item():.4f}  pairs right {right:.3f}")
    return finished(average)


@torch.no_grad()
def evaluate(model: Clip, faces: Labelled, *, device: str = "cpu") -> dict:
    """Returns zero-shot scores, a row an attribute: is the face nearer to the captions that say it, or that deny it?"""
    pictures = torch.cat([model.embed_images(from_levels(p.to(device))) for p in faces.images.split(250)])
    names = [n for n in faces.names if n == "Male" or n in PHRASES]
    margin = torch.stack([pictures @ model.contrast(*opposites(n)) for n in names], dim=1)
    labels = faces.labels[:, [faces.names.index(n) for n in names]]
    return {"attributes": scores(margin.cpu(), margin.cpu(), labels, tuple(names))}


def _network(name: str, seed: int) -> MiniClip:
    config = json.loads((MODELS / f"{name}.json").read_text(encoding="utf-8"))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = MiniClip({**config, "init_logit_bias": 0.0}, vocabulary())
    # CLIP's own first temperature is made for captions that are true of one image in thousands.
    torch.nn.init.constant_(model.model.logit_scale, math.log(10.0))
    return model


def main(argv: list[str] | None = None) -> int:
    parser = cli.parser("clip", __doc__, SHIPPED, "CelebA", Settings)
    parser.add_argument("--start", help="go on from these weights of an earlier training (a name or a file)")
    return cli.run(parser.parse_args(argv), Settings, _work)


def _work(args: argparse.Namespace, settings: Settings) -> tuple[MiniClip, dict[str, str]]:
    faces, held_out = half(load_celeba(args.data), args.name), load_celeba(args.data, "val")
    model, facts = _network(args.name, settings.seed), {"start": "random weights"}
    if args.start:
        earlier = build(MiniClip, args.start)
        if earlier.config != model.config:
            raise InpaintError(f"--start must be weights of {args.name}'s own config; {args.start} has another")
        model.load_state_dict(earlier.state_dict())
        facts = {"start": f"an earlier training with {load_weights(args.start)[1].get('settings', 'unknown settings')}"}
    model = train(model, faces, settings, device=args.device, report=cli.say)
    found = evaluate(model, held_out, device=args.device)
    for row in found["attributes"]:
        cli.say(f"{row['attribute']}: balanced accuracy {row.get('balanced_accuracy', float('nan')):.3f}")
    return model, {"scores": json.dumps(found), **facts}


if __name__ == "__main__":
    sys.exit(main())
