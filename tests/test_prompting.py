"""Cases, jobs and their searches: every job is what its name says, and beside a baseline of its part."""

from dataclasses import replace

import pytest
import torch

from inpaintlib import losses, prompting
from inpaintlib.attributes import Wish
from inpaintlib.checks import InpaintError
from inpaintlib.invert import Search
from inpaintlib.masks import coverage
from inpaintlib.prompting import parse_case

from .tiny import pictures, tiny_classifier, tiny_clip, tiny_generator, tiny_percept

FIDELITY = {"mse_weight": 1.0, "lpips_weight": 0.5}
CLASSIFIER = {"classifier_weight": 2.0, "classifier_network": "guide"}
SEARCH = Search(steps=4)
TWO = replace(SEARCH, fit_steps=2, stay_weight=1.0, frozen_layers=(0, 1))


@pytest.fixture(autouse=True)
def networks(monkeypatch):
    """Tiny random networks in place of the shipped ones."""
    monkeypatch.setattr(losses, "load_classifier", lambda name: tiny_classifier())
    monkeypatch.setattr(losses, "load_clip", lambda name: tiny_clip())
    monkeypatch.setattr(losses, "load_percept", lambda name: tiny_percept())


def classifier_jobs(**change):
    options = {"cases": ["mouth|+Smiling", "mouth|-Smiling", "hair|+Bald"], "contrast": "eyes|+Smiling",
               "weights": [0.1, 5.0], "views": 2} | change  # fmt: skip
    return prompting.classifier_jobs(FIDELITY, CLASSIFIER, SEARCH, TWO, **options)


def clip_jobs(*cases: str):
    return prompting.clip_jobs(
        FIDELITY, {"clip_weight": 3.0, "clip_network": "clip", "clip_form": "cosine"}, CLASSIFIER, SEARCH, TWO,
        cases=cases, contrast="eyes|+Smiling|a smiling face", weights=[0.1], views=2,
    )  # fmt: skip


def test_a_case_is_part_wishes_and_prompt():
    assert parse_case("eyes|+Eyeglasses") == ("eyes", (Wish("Eyeglasses", True),), "")
    case = parse_case(" mouth | -Smiling,+Young | a serious woman ")
    assert case == ("mouth", (Wish("Smiling", False), Wish("Young", True)), "a serious woman")
    assert case.name == "mouth: a serious woman" and parse_case("hair|-Bald").name == "hair: -Bald"


@pytest.mark.parametrize(
    ("text", "message"),
    [("mouth", "part|wishes|prompt"), ("nose|+Big_Nose", "mouth, eyes, hair"), ("mouth|", "names with signs"),
     ("mouth|+Smiling,-Smiling", "contradicts")],
)  # fmt: skip
def test_a_case_of_another_form_is_one_sentence(text, message):
    with pytest.raises(InpaintError, match=message.replace("|", r"\|")):
        parse_case(text)


def test_masks_hide_the_parts_that_they_are_asked_to():
    masks = prompting.part_masks({"mouth": 0.1, "eyes": 0.15, "hair": 0.3}, 64)
    assert {p: round(float(coverage(m)), 2) for p, m in masks.items()} == {"mouth": 0.1, "eyes": 0.15, "hair": 0.3}
    middle = {p: [float(c.float().mean()) / 64 for c in m[0, 0].nonzero(as_tuple=True)] for p, m in masks.items()}
    assert middle["hair"][0] < middle["eyes"][0] < middle["mouth"][0], "from top to bottom"
    assert all(abs(x - 0.5) < 0.02 for _, x in middle.values()), "faces are centred"
    assert masks["hair"][0, 0, 30:50, 24:40].sum() == 0, "the face itself stays"


def test_classifier_jobs_change_one_thing_at_a_time():
    jobs = classifier_jobs()
    assert list(jobs)[:3] == ["mouth: no wish", "hair: no wish", "eyes: no wish"]
    first, variants = jobs["mouth: +Smiling"], {n: j for n, j in jobs.items() if n.startswith("mouth: +Smiling (")}
    assert [n.split(" (", 1)[1][:-1] for n in variants] == [
        "weight 0.1", "weight 5", "margin", "soft", "reads G(w)", "2 views", "two phases", "two phases, frozen"
    ]  # fmt: skip
    for name, job in jobs.items():
        terms = {"mse", "lpips", "classifier"} if job.wishes else {"mse", "lpips"}
        assert set(job.method.objective.terms) == terms, name
        assert (job.method.search == SEARCH) == ("phases" not in name)
    weights = [j.method.objective.terms["classifier"].weight for j in (first, *variants.values())]
    assert weights == [2.0, 0.1, 5.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    assert variants["mouth: +Smiling (two phases)"].method.search == replace(TWO, frozen_layers=())
    assert variants["mouth: +Smiling (two phases, frozen)"].method.search == TWO
    assert prompting.image_steps(jobs, 5) == len(jobs) * 5 * 4


def test_clip_jobs_have_every_wish_as_prompt_and_as_classifier_target():
    jobs = clip_jobs("mouth|+Smiling|a smiling person", "hair|-Bald|a person wearing a hat")
    for prompt, target in (("mouth: a smiling person", "mouth: classifier +Smiling"),
                           ("hair: a person wearing a hat", "hair: classifier -Bald")):  # fmt: skip
        assert "clip" in jobs[prompt].method.objective.terms and "classifier" in jobs[target].method.objective.terms
        assert jobs[prompt].wishes == jobs[target].wishes and jobs[prompt].part == jobs[target].part
    assert "mouth: a smiling person (directional)" in jobs
    assert jobs["mouth: a smiling person"].method.objective.networks == ("percept-guide", "clip")


def test_a_case_for_clip_needs_a_prompt():
    with pytest.raises(InpaintError, match="needs a prompt"):
        clip_jobs("mouth|+Smiling")


def test_cases_that_are_alike_are_refused():
    with pytest.raises(InpaintError, match="'mouth: \\+Smiling' stands 2 times"):
        classifier_jobs(cases=["mouth|+Smiling", "mouth | +Smiling"])


def test_every_job_is_searched_under_the_mask_of_its_part():
    generator, target = tiny_generator(), pictures(2, 16)
    jobs = classifier_jobs(cases=["mouth|+Smiling"], weights=[])
    masks = prompting.part_masks({"mouth": 0.1, "eyes": 0.2, "hair": 0.3}, 16)
    told = []
    records = prompting.search_all(
        generator, target, masks, jobs, seeds=[0, 1], batch_size=1, progress=lambda *a: told.append(a[:2])
    )
    assert list(records) == list(jobs)
    for name, record in records.items():
        known = (masks[jobs[name].part] == 0).expand_as(target)
        assert torch.equal(record.composite[known], target[known])
        assert (record.composite != target).any()
    total = prompting.image_steps(jobs, 2)
    assert told[-1] == (total, total) and [d for d, _ in told] == sorted(d for d, _ in told)


def test_the_gallery_has_a_column_for_the_hole_of_every_part_and_every_case():
    target = pictures(3, 16)
    cases = [parse_case(c) for c in ("mouth|+Smiling", "eyes|+Eyeglasses", "mouth|-Smiling")]
    masks = prompting.part_masks({"mouth": 0.1, "eyes": 0.2}, 16)

    class Record:
        composite = target

    names = ["mouth: no wish", "eyes: no wish", *[c.name for c in cases], *map(prompting.as_classifier, cases)]
    records = dict.fromkeys(names, Record())
    titles = [t.replace("\n", " ") for t in prompting.gallery(cases, records, target, masks, 2)]
    assert titles == ["target", "mouth hidden", "mouth: no wish", "mouth: +Smiling", "mouth: -Smiling",
                      "eyes hidden", "eyes: no wish", "eyes: +Eyeglasses"]  # fmt: skip
    pairs = prompting.side_by_side(cases, records, 2)
    assert all(images.shape == (2, 3, 16, 16) for images in pairs.values()) and len(pairs) == 8
    variants = {f"{cases[0].name} ({name})": Record() for name in ("margin", "two phases")}
    titles = list(prompting.variant_gallery(cases[0], records | variants, 1))
    assert titles == ["mouth: no wish", "as above", "margin", "two phases"]
