"""Published weights by name: where they come from, under which terms, and where on this machine they are.

Nothing is fetched here; :mod:`inpaintlib.published.fetch` does that when it is asked to. A generator's file is made
safetensors then, and its name works wherever a shipped one does, as does NAME-discriminator.

A SHA-256 stands here only where a source that can be cited gives one. NVIDIA publishes none for its networks: theirs
is recorded when a file is first seen, and only tells that the file is the same later. Sizes are counted from the
networks' parameters, or given by the packages that use the file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from .errors import InpaintError

__all__ = ["ZOO", "Entry", "absent", "folder", "located", "path_of"]

NVIDIA = "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained"
TORCHVISION = "https://download.pytorch.org/models"
NVIDIA_TERMS = (
    "NVIDIA Source Code License, non-commercial (https://nvlabs.github.io/stylegan2-ada-pytorch/license.html)"
)


class Entry(NamedTuple):
    """One published file.

    Attributes:
        about: what it is.
        url: its address.
        megabytes: of the download, about.
        licence: of the weights, and of the data that they were trained on.
        kind: ``generator`` (converted, with its discriminator) or ``state`` (of another network, converted).
        prefix: of a state's tensors that are kept.
        alignment: how faces lie in a generator's images.
        sha256: the first digits or all, where a source gives them.
        source: of the SHA-256.
    """

    about: str
    url: str
    megabytes: int
    licence: str
    kind: str = "generator"
    prefix: str = ""
    alignment: str = "none"
    sha256: str = ""
    source: str = ""

    @property
    def file(self) -> str:
        """The name of the file at its address."""
        return self.url.rpartition("/")[2]


def _nvidia(about: str, file: str, megabytes: int, data: str, alignment: str = "none") -> Entry:
    return Entry(
        f"StyleGAN2-ADA, {about}", f"{NVIDIA}/{file}", megabytes, f"{NVIDIA_TERMS}; {data}", alignment=alignment
    )


def _torchvision(about: str, file: str, megabytes: int) -> Entry:
    digits = file.rpartition("-")[2].removesuffix(".pth")
    return Entry(f"{about} of LPIPS", f"{TORCHVISION}/{file}", megabytes, "BSD-3-Clause; trained on ImageNet",
                 "state", "features.", sha256=digits, source="the file's name, as torch.hub checks it")  # fmt: skip


FFHQ_TERMS = "FFHQ: CC BY-NC-SA 4.0"
AFHQ_TERMS = "AFHQ: CC BY-NC 4.0"
#: Name -> what it stands for.
ZOO: dict[str, Entry] = {
    "ffhq-1024": _nvidia("faces, 1024 px", "ffhq.pkl", 382, FFHQ_TERMS, "ffhq"),
    "ffhq-256": _nvidia("faces, 256 px", "transfer-learning-source-nets/ffhq-res256-mirror-paper256-noaug.pkl", 296,
                        FFHQ_TERMS, "ffhq"),
    "afhq-cat": _nvidia("cats, 512 px", "afhqcat.pkl", 364, AFHQ_TERMS),
    "afhq-dog": _nvidia("dogs, 512 px", "afhqdog.pkl", 364, AFHQ_TERMS),
    "afhq-wild": _nvidia("wild animals, 512 px", "afhqwild.pkl", 364, AFHQ_TERMS),
    "metfaces": _nvidia("painted faces, 1024 px", "metfaces.pkl", 382, "MetFaces: CC BY-NC 2.0", "ffhq"),
    "cifar10": _nvidia("objects of ten classes, 32 px", "cifar10.pkl", 254, "CIFAR-10: free for research"),
    "lpips-vgg": _torchvision("VGG-16", "vgg16-397923af.pth", 528),
    "lpips-alex": _torchvision("AlexNet", "alexnet-owt-7be5be79.pth", 233),
    "lpips-squeeze": _torchvision("SqueezeNet 1.1", "squeezenet1_1-b8a52dc0.pth", 5),
    "clip-vit-b-16": Entry(
        "OpenAI's CLIP ViT-B/16 in open_clip's form, as ViT-B-16-quickgelu:clip-vit-b-16",
        "https://huggingface.co/timm/vit_base_patch16_clip_224.openai/resolve/main/open_clip_model.safetensors",
        599, "MIT (OpenAI's code and weights); trained on pictures and captions of the web", "state"),
}  # fmt: skip


def folder() -> Path:
    """Returns where fetched weights are: ``INPAINTLIB_ZOO``, else the user's cache folder."""
    if given := os.environ.get("INPAINTLIB_ZOO"):
        return Path(given)
    import pooch  # imports requests: only on request

    return Path(pooch.os_cache("inpaintlib"))


def path_of(name: str) -> Path:
    """Returns where the safetensors file of a name is, or will be."""
    return folder() / f"{name}.safetensors"


def located(name: str) -> Path | None:
    """Returns the safetensors file of a name of the zoo (or NAME-discriminator) on this machine.

    None if it is no such name.

    Raises InpaintError if the file is not there, with what to do.
    """
    entry = ZOO.get(name) or ZOO.get(name.removesuffix("-discriminator"))
    if entry is None or (name not in ZOO and entry.kind != "generator"):
        return None
    path = path_of(name)
    if not path.is_file():
        raise InpaintError(absent(name.removesuffix("-discriminator"), entry, folder()))
    return path


def absent(name: str, entry: Entry, place: Path) -> str:
    """Returns the sentence that says what to do where an entry's file is missing."""
    return (
        f"{name} is not on this machine; `python -m inpaintlib fetch {name}` gets it (about {entry.megabytes} MB from"
        f" {entry.url}; {entry.licence}), also offline if {entry.file} was put into {place} before"
    )
