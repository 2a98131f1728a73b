"""CLIP: networks that place images and sentences in one space, where the cosine says how well they match.

``clip-guide`` (the residual network of CLIP with attention pooling) is for objectives, ``clip-judge`` (a plain one of
timm's) for tables: small ``open_clip`` models of ours, trained on disjoint halves of the faces with sentences that
:mod:`inpaintlib.captions` writes. Their text towers know its few words only; a prompt with others is refused, naming
them.

Any pretrained model of open_clip is ``"ARCHITECTURE/TAG"`` (the study's is ``ViT-B-16/openai``), a state of one's
own ``"ARCHITECTURE:FILE"``. Images are resized differentiably, with antialiasing, to the model's size and
normalised with the model's own mean and deviation.

Source: Radford et al. 2021, "Learning transferable visual models from natural language supervision".
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .captions import words
from .checks import InpaintError
from .images import resize
from .weights import build, like, load_weights

__all__ = ["Clip", "MiniClip", "SHIPPED", "load_clip"]

SHIPPED = ("clip-guide", "clip-judge")


class Clip(nn.Module):
    """An ``open_clip`` model with its preprocessing and its way to read a sentence.

    Args:
        model: has ``encode_image`` and ``encode_text``.
        read: sentences -> token numbers (N, length); raises InpaintError for one that the model cannot read.
        size: side in pixels of the images that it reads.
        mean, std: of its input, for channels in [0, 1].
    """

    def __init__(self, model: nn.Module, read: Callable[[Sequence[str]], Tensor], *, size: int,
                 mean: Sequence[float], std: Sequence[float]):  # fmt: skip
        super().__init__()
        self.model, self.read, self.size = model, read, size
        self.source = ""  # the name or file that it was loaded from
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def embed_images(self, x: Tensor) -> Tensor:
        """Returns unit vectors (N, D) of images (N, 3, H, W) in [-1, 1] of any size; differentiable."""
        if x.shape[-2:] != (self.size, self.size):
            x = resize(x, self.size)
        return self.model.encode_image(((x + 1.0) / 2.0 - self.mean) / self.std, normalize=True)

    def unknown(self, text: str) -> tuple[str, ...]:
        """Returns the words of a text that the model does not know; none for a model that reads letters."""
        return ()

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Returns unit vectors (N, D) of sentences.

        Raises InpaintError for one that is empty, too long, or has words that the model does not know.
        """
        tokens = self.read([_spoken(text) for text in texts]).to(self.mean.device)
        return self.model.encode_text(tokens, normalize=True)

    def contrast(self, say: Sequence[str], deny: Sequence[str]) -> Tensor:
        """Returns (D,): its product with an image's vector is above 0 where that is nearer to ``say``."""
        return self._middle(say) - self._middle(deny)

    def _middle(self, texts: Sequence[str]) -> Tensor:
        """The unit vector of the mean of some sentences' vectors."""
        return F.normalize(self.embed_texts(texts).mean(0), dim=0)

    def direction(self, texts: Sequence[str], away_from: Sequence[str]) -> Tensor:
        """Returns the unit vector (D,) from the mean of some sentences' vectors to that of others."""
        return F.normalize(self.embed_texts(texts).mean(0) - self.embed_texts(away_from).mean(0), dim=0)


def _spoken(text: str) -> str:
    if not isinstance(text, str) or not words(text):
        raise InpaintError(f"prompt must be a sentence with words; got {text!r}")
    return text


class MiniClip(Clip):
    """An open_clip model of ours with a small vocabulary of whole words.

    Args:
        open_clip: an open_clip model config, with ``embed_dim``, ``vision_cfg`` and ``text_cfg``; the text tower's
            ``vocab_size`` is set to what ``vocabulary`` needs.
        vocabulary: every word that it knows, in the order of their numbers.
    """

    def __init__(self, open_clip: Mapping, vocabulary: Sequence[str]):
        self.config = {"open_clip": dict(open_clip), "vocabulary": list(vocabulary)}
        self.numbers = {word: i + 2 for i, word in enumerate(vocabulary)}
        # Token 0 pads, 1 begins; open_clip pools the text where the number is largest, so the end has the last one.
        text = {**open_clip["text_cfg"], "vocab_size": len(vocabulary) + 3}
        self.context = text["context_length"]
        model = _build({**open_clip, "text_cfg": text})
        super().__init__(model, self._read, size=open_clip["vision_cfg"]["image_size"], mean=(0.5,) * 3, std=(0.5,) * 3)

    def unknown(self, text: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(w for w in words(text) if w not in self.numbers))

    def _read(self, texts: Sequence[str]) -> Tensor:
        rows = torch.zeros(len(texts), self.context, dtype=torch.int64)
        for row, text in zip(rows, texts, strict=True):
            found = words(text)
            if strange := self.unknown(text):
                raise InpaintError(_unknown(strange, tuple(self.numbers)))
            _check_length(text, len(found) + 2, self.context)
            row[: len(found) + 2] = torch.tensor([1, *(self.numbers[w] for w in found), len(self.numbers) + 2])
        return rows


def _unknown(strange: Sequence[str], known: Sequence[str]) -> str:
    near = list(dict.fromkeys(n for w in strange for n in get_close_matches(w, known, n=2, cutoff=0.7)))
    hint = f"nearest that it knows: {', '.join(near)}" if near else "see inpaintlib.captions for those that it knows"
    return f"prompt must use words that the small CLIP model knows; it does not know {', '.join(strange)} ({hint})"


def _check_length(text: str, tokens: int, most: int) -> None:
    if tokens > most:
        raise InpaintError(
            f"prompt must have at most {most - 2} tokens; {text[:40]!r}... has {tokens - 2}. Shorten it."
        )


def _build(config: Mapping) -> nn.Module:
    import open_clip  # imports torchvision: seconds, so only on request

    with torch.random.fork_rng(devices=[]):
        return open_clip.CLIP(**config)


@functools.lru_cache(maxsize=4)
def _cached(source: str, stamp: int) -> Clip:
    if ":" in source:
        clip = _from_file(*source.split(":", 1))
    elif "/" in source and not Path(source).is_file() and Path(source).suffix != ".safetensors":
        clip = _pretrained(*source.split("/", 1))
    else:
        clip = build(MiniClip, source)
    clip.source = source
    return clip


def load_clip(name_or_path: str, *, device: torch.device | str = "cpu") -> Clip:
    """Returns a frozen CLIP model; calls with the same source share one.

    Args:
        name_or_path: ``"clip-guide"``, ``"clip-judge"``, a file that ``make train-clip`` wrote, a pretrained model
            of open_clip as ``"ViT-B-16/openai"`` (must be in the Hub's cache or downloadable), or
            ``"ARCHITECTURE:FILE"`` with a safetensors state of that architecture. OpenAI's weights are those of the
            ``-quickgelu`` architectures, as ``"ViT-B-16-quickgelu:FILE"``; by tag this is seen to.

    Raises:
        InpaintError: if it is none of these, cannot be had, or its weights are of another architecture.
    """
    source = str(name_or_path)
    path = Path(source.rpartition(":")[2])
    stamp = path.stat().st_mtime_ns if path.is_file() else 0  # a file that was written anew is read anew
    return like(_cached(source, stamp), torch.empty(0, device=device))


def _pretrained(architecture: str, tag: str) -> Clip:
    import open_clip

    known = open_clip.list_pretrained_tags_by_model(architecture)
    if tag not in known:
        have = f"its tags are {', '.join(known)}" if known else "open_clip.list_pretrained() lists the models"
        raise InpaintError(f"a pretrained CLIP must be one of open_clip's; got {architecture}/{tag} ({have})")
    tokenizer = _tokenizer(architecture)
    # OpenAI's weights were trained with another activation; with the common one the results are wrong.
    quick = bool(open_clip.get_pretrained_cfg(architecture, tag).get("quick_gelu", False))
    try:
        with torch.random.fork_rng(devices=[]):
            model = open_clip.create_model(
                architecture, pretrained=tag, force_quick_gelu=quick, require_pretrained=True
            )
    except (OSError, RuntimeError, ValueError) as error:
        reason = re.split(r"[\n]", str(error).strip())[0][:160]
        raise InpaintError(
            f"{architecture}/{tag} needs its weights in the Hugging Face cache (HF_HOME) or a network to fetch them;"
            f" found neither ({reason}). Or give ARCHITECTURE:FILE."
        ) from None
    return _package(tokenizer, model)


def _from_file(architecture: str, path: str) -> Clip:
    import open_clip

    if architecture not in open_clip.list_models():
        raise InpaintError(f"a CLIP architecture must be one of open_clip.list_models(); got {architecture!r}")
    tokenizer = _tokenizer(architecture)
    tensors, _ = load_weights(path)
    with torch.random.fork_rng(devices=[]):
        model = open_clip.create_model(architecture, pretrained=None, load_weights=False)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        problem = " ".join(str(error).split())[:300]
        raise InpaintError(f"{path}: weights must be those of {architecture}; {problem}") from None
    return _package(tokenizer, model)


def _tokenizer(architecture: str) -> Callable:
    """The package's tokenizer; asked for before any weights are, for some need another package."""
    import open_clip

    try:
        tokenizer = open_clip.get_tokenizer(architecture)
    except (ImportError, OSError) as error:
        raise InpaintError(f"{architecture} needs a tokenizer that is not on this machine: {error}") from None
    if not hasattr(tokenizer, "encode"):
        raise InpaintError(
            f"{architecture} must read byte pairs as CLIP does; its tokenizer is a {type(tokenizer).__name__}"
        )
    return tokenizer


def _package(tokenizer: Callable, model: nn.Module) -> Clip:
    """A model of open_clip with the tokenizer and the preprocessing that the package gives it."""
    facts = model.visual.preprocess_cfg
    size = facts["size"] if isinstance(facts["size"], int) else facts["size"][0]

    def read(texts: Sequence[str]) -> Tensor:
        for text in texts:
            _check_length(text, len(tokenizer.encode(text)) + 2, tokenizer.context_length)
        return tokenizer(list(texts))

    model = Clip(model, read, size=size, mean=facts["mean"], std=facts["std"])
    return model.eval().requires_grad_(False)
