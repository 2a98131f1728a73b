"""What the trainings on labelled faces share: the two halves, random views of a batch, averaged weights."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..checks import InpaintError
from ..data import Labelled
from ..images import from_levels
from ..views import draw, warp

__all__ = ["augmented", "finished", "half", "one_cycle", "role", "split"]

ROLES = ("guide", "judge")


def role(name: str) -> str:
    """Returns whether a network is a ``"guide"`` or a ``"judge"``.

    Raises InpaintError if its name ends in neither.
    """
    found = name.rpartition("-")[2]
    if found not in ROLES:
        raise InpaintError(f"name must end in -guide or -judge, which tells its half of the images; got {name!r}")
    return found


def half(data: Labelled, name: str) -> Labelled:
    """Returns the training half of the network ``name``: even images for a guide, odd ones for a judge.

    Raises InpaintError if the name ends in neither.
    """
    part = slice(ROLES.index(role(name)), None, 2)
    return Labelled(data.images[part], data.labels[part], data.names)


def split(data: Labelled, kept: int) -> tuple[Labelled, Labelled]:
    """Returns the data without its last ``kept`` images, and those, on which a network is calibrated."""
    if not 0 < kept < len(data.images):
        raise InpaintError(f"calibration must be between 1 and {len(data.images) - 1} faces; got {kept}")
    cut = len(data.images) - kept
    return (Labelled(data.images[:cut], data.labels[:cut], data.names),
            Labelled(data.images[cut:], data.labels[cut:], data.names))  # fmt: skip


def augmented(images: Tensor, rng: torch.Generator) -> Tensor:
    """Returns views of faces, float (N, 3, H, W) in [-1, 1], of uint8 images; all draws from ``rng``.

    Flip, small turn, scale and shift; brightness, contrast and saturation; a blur in a third of the images, for
    generated faces are softer than photographs; a grey rectangle in a quarter.
    """
    n, _, height, width = images.shape
    uniform = lambda *shape: torch.rand(*shape, generator=rng, device=rng.device)  # noqa: E731
    x = warp(from_levels(images), draw(n, rng))
    gain, bias, colour = (1.0 + 0.25 * (2.0 * uniform(3, n, 1, 1, 1) - 1.0)).unbind(0)
    grey = x.mean(dim=1, keepdim=True)
    x = (grey + (x - grey) * colour) * gain + 0.6 * (bias - 1.0)
    soft = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    x = torch.where(uniform(n, 1, 1, 1) < 1 / 3, soft, x)
    top, left, tall, wide = (uniform(4, n, 1, 1, 1)).unbind(0)
    rows, columns = torch.arange(height, device=x.device).view(1, 1, -1, 1), torch.arange(width, device=x.device)
    hidden = (rows >= top * height) & (rows < (top + 0.1 + 0.3 * tall) * height)
    hidden = hidden & (columns >= left * width) & (columns < (left + 0.1 + 0.3 * wide) * width)
    hidden = hidden & (uniform(n, 1, 1, 1) < 0.25)
    return torch.where(hidden, 0.0, x).clamp(-1.0, 1.0)


def one_cycle(model: torch.nn.Module, *, learning_rate: float, weight_decay: float, steps: int):
    """Returns AdamW, its one-cycle schedule and the exponential average of the weights; biases do not decay."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    free = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": free, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=steps, pct_start=0.15)
    # The average forgets over about a twentieth of the training.
    decay = 1.0 - min(1.0, 20.0 / steps)
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(decay), use_buffers=True
    )
    return optimiser, schedule, average


def finished(average: torch.optim.swa_utils.AveragedModel) -> torch.nn.Module:
    """Returns the averaged network in evaluation mode, ready to be stored."""
    for name, counter in average.module.named_buffers():
        if name.endswith("num_batches_tracked"):
            counter.zero_()  # serves nothing once trained, and after 65,504 steps no float16 holds it
    return average.module.eval()
