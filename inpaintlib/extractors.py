"""Named networks that turn images into vectors, for the distances between sets of images.

* ``percept-judge``, the default of this study: shipped, small, trained on faces.
* ``inception``: torchvision's Inception-v3 with the weights that Google trained on ImageNet, its 2048 pooled features.
  It is not the network of published FIDs (TensorFlow's graph of 2015): numbers are close to those, not the same.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from .checks import InpaintError, check_choice, check_finite, check_integer, check_type
from .features import Percept, load_percept
from .images import at_once, resize

__all__ = ["Features", "features", "of_percept"]

EXTRACTORS = ("percept-judge", "inception")
INCEPTION_FILE = "inception_v3_google-0cc3c7bd.pth"
INCEPTION_SIZE = 299  # side in pixels of what the network reads


@dataclass(frozen=True)
class Features:
    """A frozen network that turns images into vectors.

    Attributes:
        name: where it came from; stands wherever its numbers stand.
        network: from images (N, 3, H, W) in [-1, 1] on ``device`` to (N, D).
        device: where the network is.
        batch: number of images of at most 64 px at a time, of larger ones as many pixels.
    """

    name: str
    network: Callable[[Tensor], Tensor]
    device: torch.device | str = "cpu"
    batch: int = 100

    @torch.no_grad()
    def __call__(self, images: Tensor) -> np.ndarray:
        """Returns float64 (N, D) for images (N, 3, H, W), clamped to [-1, 1]; raises InpaintError for other shapes."""
        check_type("images", images, Tensor)
        if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape:
            raise InpaintError(f"images must have shape (N, 3, H, W); got {tuple(images.shape)}")
        check_finite("images", images)
        check_integer("batch", self.batch, low=1)
        parts = images.split(at_once(images.shape[-1], self.batch))
        parts = [self.network(part.to(self.device, torch.float32).clamp(-1, 1)) for part in parts]
        return torch.cat(parts).double().cpu().numpy()


def of_percept(percept: Percept, *, device: torch.device | str | None = None, batch: int = 100) -> Features:
    """Returns the pooled deepest layer of a :class:`~inpaintlib.features.Percept` as features.

    ``device`` None is where the network is.
    """
    device = percept.device if device is None else device
    return Features(percept.name, percept.like(torch.empty(0, device=device)).pooled, device, batch)


def features(name: str = "percept-judge", *, device: torch.device | str = "cpu", batch: int = 100) -> Features:
    """Returns a named extractor, ``percept-judge`` or ``inception``. Nothing is downloaded.

    Raises:
        InpaintError: for another name, or if the Inception weights are not in torch's cache or damaged.
    """
    check_choice("features", name, EXTRACTORS)
    if name == "percept-judge":
        return of_percept(load_percept(name), device=device, batch=batch)
    network = _inception(_inception_weights()).to(device)
    return Features(name, lambda x: network(resize(x, INCEPTION_SIZE)), device, batch)


def _inception_weights() -> dict[str, Tensor]:
    path = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_FILE
    if not path.is_file():
        raise InpaintError(
            f"inception needs torchvision's weights {INCEPTION_FILE}; none at {path}: put the file there (from"
            f" https://download.pytorch.org/models/{INCEPTION_FILE}), or use percept-judge"
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        problem = " ".join(str(error).split())[:200]
        raise InpaintError(f"{path} must hold torchvision's Inception-v3 weights; unreadable: {problem}") from None


def _inception(weights: dict[str, Tensor]) -> nn.Module:
    import torchvision  # seconds, so only on request

    with torch.random.fork_rng(devices=[]):  # constructors draw weights from the global generator
        network = torchvision.models.inception_v3(weights=None, init_weights=False)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        problem = " ".join(str(error).split())[:200]
        raise InpaintError(f"{INCEPTION_FILE} must hold torchvision's Inception-v3 weights; {problem}") from None
    network.fc = nn.Identity()  # what is pooled, not the classes
    return network.eval().requires_grad_(False)
