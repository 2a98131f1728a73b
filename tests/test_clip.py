"""CLIP models: embeddings equal open_clip's own, prompts are read or refused, and files give what was saved."""

import functools
import os
from pathlib import Path

import open_clip
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from torchvision.transforms.v2.functional import normalize

from inpaintlib import clip, weights
from inpaintlib.checks import InpaintError
from inpaintlib.clip import MiniClip, load_clip
from inpaintlib.images import resize
from inpaintlib.weights import checksum, save_weights

from .tiny import OPEN_CLIP, WORDS, frozen, pictures, seeded, tiny_clip

PROMPTS = ["a smiling woman", "a man with a hat", "person"]


@pytest.fixture(autouse=True)
def _nothing_cached():
    clip._cached.cache_clear()
    yield
    clip._cached.cache_clear()


def tokens(*rows: list[str]) -> Tensor:
    """Returns token numbers: 1, those of the words, the last of all, and zeros."""
    out = torch.zeros(len(rows), 8, dtype=torch.int64)
    for row, found in zip(out, rows, strict=True):
        for place, word in enumerate(found):
            row[place + 1] = WORDS.index(word) + 2
        row[0], row[len(found) + 1] = 1, len(WORDS) + 2
    return out


# Embeddings -------------------------------------------------------------------------------------------


def test_tokens_are_the_words_between_a_beginning_and_an_end():
    expected = tokens(*(prompt.split() for prompt in PROMPTS))
    assert torch.equal(tiny_clip().read(PROMPTS), expected)
    assert torch.equal(tiny_clip().read(["A smiling,  WOMAN!", *PROMPTS[1:]]), expected)
    assert expected.max() == len(WORDS) + 2 < tiny_clip().model.vocab_size


def test_embeddings_are_those_of_open_clip():
    network, x = tiny_clip(), pictures(3, 16)
    image, text = normalize((x + 1.0) / 2.0, [0.5] * 3, [0.5] * 3), tokens(*(p.split() for p in PROMPTS))
    ours, theirs = network.embed_images(x), network.embed_texts(PROMPTS)
    torch.testing.assert_close(ours, network.model.encode_image(image, normalize=True))
    torch.testing.assert_close(theirs, network.model.encode_text(text, normalize=True))
    logits, _ = network.model.get_logits(image, text)
    torch.testing.assert_close(network.model.logit_scale.exp() * ours @ theirs.T, logits)
    for vectors in (ours, theirs):
        torch.testing.assert_close(vectors.norm(dim=1), torch.ones(3))
        assert (vectors[0] - vectors[1]).norm() > 0.05


def test_text_does_not_depend_on_the_texts_beside_it():
    network = tiny_clip()
    alone = torch.cat([network.embed_texts([prompt]) for prompt in PROMPTS])
    torch.testing.assert_close(network.embed_texts(PROMPTS), alone)


def test_direction_is_the_unit_vector_between_the_mean_sentences():
    network = tiny_clip()
    change = network.embed_texts(["smiling"])[0] - sum(network.embed_texts([p])[0] for p in PROMPTS) / 3
    torch.testing.assert_close(network.direction(["smiling"], PROMPTS), change / change.norm())


@pytest.mark.parametrize("size", [8, 32])
def test_images_of_another_size_are_resized_with_a_gradient_to_every_pixel(size):
    network, x = tiny_clip(), pictures(2, size).requires_grad_()
    torch.testing.assert_close(network.embed_images(x), network.embed_images(resize(x, 16)))
    (gradient,) = torch.autograd.grad(network.embed_images(x)[:, 0].sum(), x)
    assert gradient.isfinite().all() and (gradient != 0).float().mean() > 0.9


def test_detail_finer_than_the_model_sees_is_averaged_away():
    network, even = tiny_clip(), torch.full((1, 3, 16, 16), 0.25)
    stripes = torch.tensor([0.0, 0.5, 0.5, 0.0]).repeat(16).expand(1, 3, 64, 64)
    picked = F.interpolate(stripes, (16, 16), mode="bicubic")  # not antialiased: the bright stripes only
    near, far = ((network.embed_images(x) - network.embed_images(even)).norm().item() for x in (stripes, picked))
    assert picked.min() > 0.4 and near < 0.1 * far


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_network_works_in_any_float_type(dtype):
    network, x = tiny_clip(dtype=dtype), pictures(1, 16, dtype=dtype)
    assert network.embed_images(x).dtype == network.embed_texts(["a person"]).dtype == dtype
    torch.testing.assert_close(network.embed_images(x).float(), tiny_clip().embed_images(x.float()))
    torch.testing.assert_close(network.embed_texts(["a person"]).float(), tiny_clip().embed_texts(["a person"]))


def test_building_a_network_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    MiniClip(OPEN_CLIP, WORDS)
    assert torch.equal(torch.get_rng_state(), before)


# Prompts ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("a womn smilling", r"it does not know womn, smilling \(nearest that it knows: woman, smiling\)"),
        ("a zebra", r"it does not know zebra \(see inpaintlib.captions for those that it knows\)"),
        ("a zebra zebra", r"it does not know zebra \("),
        ("", "prompt must be a sentence with words; got ''"),
        (" .! ", "prompt must be a sentence with words; got ' .! '"),
        (None, "prompt must be a sentence with words; got None"),
        ("a smiling woman with a hat not", r"at most 6 tokens; 'a smiling woman with a hat not'... has 7. Shorten it"),
    ],
)
def test_prompt_that_the_model_cannot_read_is_refused(prompt, message):
    with pytest.raises(InpaintError, match=message):
        tiny_clip().embed_texts(["a person", prompt])


def test_unknown_words_are_listed_once_and_in_order():
    assert tiny_clip().unknown("A zebra, a YAK and the zebra") == ("zebra", "yak", "and")
    assert tiny_clip().unknown("a smiling woman") == ()


def test_longest_prompt_is_read():
    assert tiny_clip().embed_texts(["a smiling woman with a hat"]).shape == (1, 8)


# Files of ours ----------------------------------------------------------------------------------------


def assert_same_embeddings(a: clip.Clip, b: clip.Clip, **tolerance: float) -> None:
    x = pictures(2, 16)
    torch.testing.assert_close(a.embed_images(x), b.embed_images(x), **tolerance)
    torch.testing.assert_close(a.embed_texts(PROMPTS), b.embed_texts(PROMPTS), **tolerance)


def test_file_gives_the_network_that_was_saved(tmp_path):
    file = tmp_path / "mine.safetensors"
    save_weights(file, tiny_clip(), dtype=torch.float32)
    loaded = load_clip(file)
    assert_same_embeddings(loaded, tiny_clip())
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    assert load_clip(str(file)) is loaded
    save_weights(file, tiny_clip(seed=1), dtype=torch.float32)
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 10**9))
    assert_same_embeddings(load_clip(file), tiny_clip(seed=1))


@pytest.mark.parametrize("name", clip.SHIPPED)
def test_shipped_name_is_a_file_of_the_package(name, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / f"{name}.safetensors"
    save_weights(file, tiny_clip())
    (tmp_path / "checksums.json").write_text(f'{{"{name}": "{checksum(file)}"}}')
    monkeypatch.setattr(weights, "MODELS", tmp_path)
    assert_same_embeddings(load_clip(name), tiny_clip(), rtol=0.02, atol=0.002)


def test_missing_name_is_refused():
    with pytest.raises(InpaintError, match="'clip-mine' is neither a shipped model .* nor a file"):
        load_clip("clip-mine")


# Models of open_clip ----------------------------------------------------------------------------------

MINI = OPEN_CLIP | {"text_cfg": OPEN_CLIP["text_cfg"] | {"vocab_size": 49408, "no_causal_mask": False}}


@pytest.fixture
def _mini(monkeypatch):
    """Makes small architectures known to open_clip."""
    wide = MINI | {"embed_dim": 12}
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", {"mini": MINI, "mini-wide": wide, "ViT-B-16": MINI})


@functools.cache
def mini_model(architecture: str = "mini") -> torch.nn.Module:
    return frozen(seeded(lambda: open_clip.create_model(architecture, load_weights=False)))


def mini_file(folder: Path, architecture: str = "mini") -> Path:
    save_file(mini_model(architecture).state_dict(), folder / "plain.safetensors")
    return folder / "plain.safetensors"


@pytest.mark.usefixtures("_mini")
def test_plain_state_of_an_architecture_embeds_as_open_clip_does(tmp_path):
    model, loaded, x = mini_model(), load_clip(f"mini:{mini_file(tmp_path)}"), pictures(2, 16)
    facts = model.visual.preprocess_cfg
    assert loaded.size == 16 and facts["mean"][0] != 0.5 and not any(p.requires_grad for p in loaded.parameters())
    image = normalize((x + 1.0) / 2.0, list(facts["mean"]), list(facts["std"]))
    torch.testing.assert_close(loaded.embed_images(x), model.encode_image(image, normalize=True))
    prompts = ["A smiling woman!", "a zebra"]
    assert loaded.unknown("a zebra") == ()
    text = open_clip.get_tokenizer("mini")(prompts)
    torch.testing.assert_close(loaded.embed_texts(prompts), model.encode_text(text, normalize=True))


@pytest.mark.usefixtures("_mini")
def test_prompt_that_the_tokenizer_would_cut_is_refused(tmp_path):
    loaded = load_clip(f"mini:{mini_file(tmp_path)}")
    assert loaded.embed_texts(["one two three four five six"]).shape == (1, 8)
    with pytest.raises(InpaintError, match="at most 6 tokens; 'one two three four five six seven'... has 7"):
        loaded.embed_texts(["one two three four five six seven"])


@pytest.mark.usefixtures("_mini")
def test_plain_state_of_another_architecture_is_refused(tmp_path):
    file = mini_file(tmp_path, "mini-wide")
    with pytest.raises(InpaintError, match="plain.safetensors: weights must be those of mini; .*size mismatch"):
        load_clip(f"mini:{file}")
    with pytest.raises(InpaintError, match=r"must be one of open_clip.list_models\(\); got 'maxi'"):
        load_clip(f"maxi:{file}")


@pytest.mark.usefixtures("_mini")
def test_missing_file_of_an_architecture_is_named():
    with pytest.raises(InpaintError, match="'nowhere.safetensors' is neither a shipped model .* nor a file"):
        load_clip("mini:nowhere.safetensors")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("ViT-B-16/mine", r"must be one of open_clip's; got ViT-B-16/mine \(its tags are openai, "),
        ("ViT-mine/openai", r"one of open_clip's; got ViT-mine/openai \(open_clip.list_pretrained\(\) lists"),
    ],
)
def test_unknown_pretrained_model_is_refused(source, message):
    with pytest.raises(InpaintError, match=message):
        load_clip(source)


def test_pretrained_model_that_cannot_be_had_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InpaintError, match=r"^ViT-B-16/openai needs its weights in the Hugging Face cache") as raised:
        load_clip("ViT-B-16/openai")
    text = str(raised.value)
    assert "\n" not in text and len(text) < 500 and text.endswith("Or give ARCHITECTURE:FILE.")


@pytest.mark.usefixtures("_mini")
@pytest.mark.parametrize(("tag", "quick"), [("openai", True), ("laion2b_s34b_b88k", False)])
def test_pretrained_model_gets_the_activation_it_was_trained_with(tag, quick, monkeypatch):
    asked = []
    model = mini_model()
    monkeypatch.setattr(open_clip, "create_model", lambda name, **options: asked.append((name, options)) or model)
    assert load_clip(f"ViT-B-16/{tag}").model is model
    ((name, options),) = asked
    assert name == "ViT-B-16" and options["pretrained"] == tag and options["require_pretrained"] is True
    assert options["force_quick_gelu"] is quick
