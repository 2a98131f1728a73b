"""Training of the feature networks ``percept-guide`` and ``percept-judge`` (``make train-percept``).

Each is a small classifier of CIFAR-10 classes and CelebA attributes at once, on images as they are
(32 px objects, 64 px faces), one body with two linear heads. Guide and judge see disjoint halves of both
sets (every second image) and have different architectures. Batch normalisation serves the training and
is folded into the convolutions before a network is saved: what ships is convolutions and activations.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import json
import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ..checks import check_integer, check_number
from ..data import Labelled, load_celeba, load_cifar10
from ..features import SHIPPED
from ..images import from_levels
from . import cli
from .faces import half

__all__ = ["Settings", "main", "train"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """What defines a run; stored in the weights' metadata."""

    steps: int = 3000
    cifar_batch: int = 96
    faces_batch: int = 32
    learning_rate: float = 0.003  # peak of a one-cycle schedule
    weight_decay: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "cifar_batch", "faces_batch"):
            check_integer(name, getattr(self, name), low=1)
        check_number("learning_rate", self.learning_rate, low=0.0, open_low=True)
        check_number("weight_decay", self.weight_decay, low=0.0)
        check_integer("seed", self.seed, low=0)


class _Normalised(nn.Module):
    """A convolution followed by batch normalisation, as one replaceable unit."""

    def __init__(self, conv: nn.Conv2d):
        super().__init__()
        self.conv, self.norm = conv, nn.BatchNorm2d(conv.out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


def _swap(module: nn.Module, kind: type, new) -> nn.Module:
    """Replaces every submodule of type ``kind`` by ``new(submodule)``, in place."""
    for name, child in module.named_children():
        if isinstance(child, kind):
            setattr(module, name, new(child))
        else:
            _swap(child, kind, new)
    return module


def fold(body: nn.Module) -> nn.Module:
    """Returns a copy of a trained body with its batch normalisation folded into the convolutions."""
    return _swap(copy.deepcopy(body).eval(), _Normalised, lambda m: fuse_conv_bn_eval(m.conv, m.norm))


def _batch(data: Labelled, n: int, rng: torch.Generator, shift: int) -> tuple[Tensor, Tensor]:
    """Draws n images, flips half of them and shifts each batch by up to ``shift`` px with reflected borders."""
    index = torch.randint(len(data.images), (n,), generator=rng, device=rng.device)
    flip = torch.rand(n, 1, 1, 1, generator=rng, device=rng.device) < 0.5
    x = from_levels(data.images[index])
    x = torch.where(flip, x.flip(3), x)
    size = x.shape[-1]
    top, left = torch.randint(2 * shift + 1, (2,), generator=rng, device=rng.device).tolist()
    x = F.pad(x, (shift,) * 4, mode="reflect")[:, :, top : top + size, left : left + size]
    return x.contiguous(memory_format=torch.channels_last), data.labels[index]


class _Classifier(nn.Module):
    def __init__(self, body: nn.Module, widths: int, attributes: int):
        super().__init__()
        self.body = _swap(body, nn.Conv2d, _Normalised)
        self.objects, self.attributes = nn.Linear(widths, 10), nn.Linear(widths, attributes)

    def forward(self, x: Tensor, head: str) -> Tensor:
        return getattr(self, head)(self.body(x)[-1].mean(dim=(2, 3)))


def train(name: str, objects: Labelled, faces: Labelled, settings: Settings, *, device: str = "cpu",
          report=print) -> _Classifier:  # fmt: skip
    """Returns the trained classifier whose body is the feature network ``name``.

    Args:
        objects, faces: the images of ``name``'s own half, uint8.
        report: called with a line of text now and then.
    """
    objects, faces = (Labelled(d.images.to(device), d.labels.to(device), d.names) for d in (objects, faces))
    rng = torch.Generator(device).manual_seed(settings.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        body = SHIPPED[name]()
        model = _Classifier(body, body.config["widths"][-1], faces.labels.shape[1])
    model = model.to(device, memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.learning_rate, total_steps=settings.steps)
    for step in range(settings.steps):
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            x, y = _batch(objects, settings.cifar_batch, rng, 3)
            on_objects = F.cross_entropy(model(x, "objects").float(), y, label_smoothing=0.05)
            x, y = _batch(faces, settings.faces_batch, rng, 4)
            on_faces = F.binary_cross_entropy_with_logits(model(x, "attributes").float(), y.float())
        (on_objects + 2.0 * on_faces).backward()
        optimiser.step()
        schedule.step()
        if step % 250 == 0 or step == settings.steps - 1:
            report(f"step {step}  objects {on_objects.item():.3f}  faces {on_faces.item():.3f}")
    return model.eval()


@torch.no_grad()
def evaluate(model: _Classifier, objects: Labelled, faces: Labelled, *, device: str = "cpu") -> dict[str, float]:
    """Returns accuracies on held-out images beside their majority baselines."""

    def run(data: Labelled, head: str) -> Tensor:
        x = from_levels(data.images)
        return torch.cat([model(part.to(device), head).float().cpu() for part in x.split(500)])

    right = (run(faces, "attributes") > 0) == faces.labels
    share = faces.labels.float().mean(0)
    return {
        "cifar10_accuracy": float((run(objects, "objects").argmax(1) == objects.labels).float().mean()),
        "cifar10_majority": float(objects.labels.bincount().max() / len(objects.labels)),
        "attribute_accuracy": float(right.float().mean()),
        "attribute_majority": float(torch.maximum(share, 1 - share).mean()),
    }


def main(argv: list[str] | None = None) -> int:
    parser = cli.parser("percept", __doc__, SHIPPED, "CelebA and CIFAR-10", Settings)
    return cli.run(parser.parse_args(argv), Settings, _work)


def _work(args: argparse.Namespace, settings: Settings) -> tuple[nn.Module, dict[str, str]]:
    objects, faces = half(load_cifar10(args.data), args.name), half(load_celeba(args.data), args.name)
    held_out = load_cifar10(args.data, "test"), load_celeba(args.data, "val")
    model = train(args.name, objects, faces, settings, device=args.device, report=cli.say)
    scores = evaluate(model, *held_out, device=args.device)
    cli.say(json.dumps(scores))
    return fold(model.body), {"scores": json.dumps(scores)}


if __name__ == "__main__":
    sys.exit(main())
