"""The notebooks: their structure without running them, and one run of each in the smoke profile."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import multiprocessing
import os
import re
import shutil
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
import torch

from inpaintlib import losses, params, prompting, runner, strict
from inpaintlib.images import read_image, write_image
from inpaintlib.invert import Search
from inpaintlib.masks import write_mask
from inpaintlib.metrics import REGIONS
from inpaintlib.study import project_root

from .tiny import pictures, tiny_classifier, tiny_percept

ROOT = project_root()
EXPLORER = ROOT / "notebooks" / "explorer.ipynb"  # a page of widgets, no report
NOTEBOOKS = sorted(set((ROOT / "notebooks").glob("*.ipynb")) - {EXPLORER})
every_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)

# Structure --------------------------------------------------------------------------------------------

BANNED = {
    ast.FunctionDef: "def", ast.AsyncFunctionDef: "def", ast.Lambda: "lambda", ast.ClassDef: "class", ast.For: "for",
    ast.While: "while", ast.Try: "try", ast.Global: "global",
}  # fmt: skip
BANNED_TEXT = r"sys\.path|os\.chdir|chdir\(|^\s*[!%]|import \*|filterwarnings|simplefilter|plt\.|/home/|/root/"


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def is_parameters(cell: nbformat.NotebookNode) -> bool:
    return "parameters" in cell.metadata.get("tags", [])


def headings(path: Path) -> list[str]:
    text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    return re.findall(r"^#+ .*$", text, flags=re.M)


def test_every_model_has_its_notebook():
    assert {path.stem for path in NOTEBOOKS} == set(params.MODELS)


@pytest.mark.parametrize("path", [*NOTEBOOKS, EXPLORER], ids=lambda path: path.stem)
def test_a_notebook_is_stripped_and_named(path):
    nb = read(path)
    nbformat.validate(nb)
    assert nb.metadata.kernelspec.name == "python3"
    ids = [cell.id for cell in nb.cells]
    assert len(set(ids)) == len(ids)
    for cell in code(path):
        assert cell.outputs == [] and cell.execution_count is None


@every_notebook
def test_the_order_is_question_method_limits(path):
    found = headings(path)
    assert found[0].startswith("# ") and found[0].endswith("?"), "the title is the question"
    assert sum(h.startswith("# ") for h in found) == 1
    assert found[1] == "## Method"
    assert path.stem == "inpaint" or found[-1] == "## Limits"
    assert read(path).cells[0].cell_type == "markdown"


@every_notebook
def test_the_parameters_are_one_cell_of_explained_literals(path):
    cells = code(path)
    assert [is_parameters(cell) for cell in cells[:3]] == [False, True, False] and sum(map(is_parameters, cells)) == 1
    for line in cells[1].source.splitlines():
        (statement,) = ast.parse(line).body
        assert isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
        ast.literal_eval(statement.value)
        assert re.search(r"  # \S", line), f"{line!r} needs its unit or range"
    assert cells[2].source.splitlines()[1] == "run = study.begin(p)"


@every_notebook
def test_cells_are_few_short_and_thin(path):
    cells = code(path)
    assert len(cells) <= 17
    for cell in cells:
        assert is_parameters(cell) or len(cell.source.splitlines()) <= 15
        assert not re.search(BANNED_TEXT, cell.source, flags=re.M), cell.source
        found = {BANNED[type(node)] for node in ast.walk(ast.parse(cell.source)) if type(node) in BANNED}
        assert not found, f"{found} belong into the library:\n{cell.source}"


@every_notebook
def test_imports_stand_in_the_first_code_cell_alone_and_are_used(path):
    cells = code(path)
    imports = [node for node in ast.parse(cells[0].source).body]
    assert all(isinstance(node, (ast.Import, ast.ImportFrom)) for node in imports)
    names = [alias.asname or alias.name for node in imports for alias in node.names]
    rest = [node for cell in cells[1:] for node in ast.walk(ast.parse(cell.source))]
    assert not any(isinstance(node, (ast.Import, ast.ImportFrom)) for node in rest)
    assert set(names) <= {node.id for node in rest if isinstance(node, ast.Name)}


@every_notebook
def test_the_last_cell_is_the_provenance_with_every_network(path):
    source = "\n".join(cell.source for cell in code(path)[:-1])
    last = re.sub(r"\s", "", code(path)[-1].source)
    assert last.startswith("run.provenance(checksums(")
    for network in ("generator", "discriminator", "lpips_network"):
        assert (f"p.{network}" in last) == (network in params.MODELS[path.stem].model_fields)
    for name in re.findall(r'load_percept\("([\w-]+)"\)', source):
        assert f'"{name}"' in last


@every_notebook
def test_text_after_the_parameters_has_no_typed_result(path):
    cells = read(path).cells
    start = next(i for i, cell in enumerate(cells) if is_parameters(cell))
    text = "\n".join(cell.source for cell in cells[start:] if cell.cell_type == "markdown")
    assert re.findall(r"\d+\.\d+", text) == [], "results are computed, by readings"


def passed_on(tree: ast.AST) -> list[str]:
    """The library's functions, as module.name, that get the parameters ``p`` whole."""
    return [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)
            and any(isinstance(a, ast.Name) and a.id == "p" for a in node.args)]  # fmt: skip


@every_notebook
def test_every_parameter_is_used(path):
    source = "\n".join(cell.source for cell in code(path) if not is_parameters(cell))
    for name in passed_on(ast.parse(source)):
        module, function = name.split(".")
        source += "\n" + inspect.getsource(getattr(import_module(f"inpaintlib.{module}"), function))
    used = set(re.findall(r"\bp\.(\w+)", source)) | {"profile", "seed"}  # study.begin takes these two
    if "run.store" in source:
        used |= {"image_steps"}  # the store's budget
    if used & {"terms", "objective"}:
        used |= set(strict.FIDELITY)
    if "search" in used:
        used |= {field.name for field in dataclasses.fields(Search)}
    model = params.MODELS[path.stem]
    assert set(model.model_fields) <= used | used_by_methods(model, used)


def used_by_methods(model: type[params.Params], called: set[str]) -> set[str]:
    """The keys that a model's own methods read, of those called: by name, or by how they begin."""
    called = called | {"wishes"} if "objective" in called else called
    own = [vars(m) for m in model.__mro__ if m.__module__.startswith("inpaintlib.")]
    source = "".join(inspect.getsource(m[name]) for m in own for name in called & set(m) if inspect.isfunction(m[name]))
    beginnings = tuple(re.findall(r'"(\w+_)"', source)) + (("classifier_", "clip_") if "wishes" in called else ())
    begun = {key for key in model.model_fields if beginnings and key.startswith(beginnings)}
    return set(re.findall(r"self\.(\w+)", source)) | begun


@pytest.mark.parametrize("stem", ["classifier", "clip", "inpaint"])
def test_steered_notebooks_check_that_no_judge_steers(stem):
    source = "\n".join(cell.source for cell in code(ROOT / "notebooks" / f"{stem}.ipynb"))
    assert re.search(r"judging\.(load_judges|check_apart)\(\[", source)


@every_notebook
def test_no_cell_assigns_to_a_parameter_again(path):
    """Run again in Jupyter, the setup would find something else in its place."""
    cells = [cell for cell in code(path) if not is_parameters(cell)]
    targets = {node.id for cell in cells for node in ast.walk(ast.parse(cell.source))
               if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}  # fmt: skip
    assert not targets & set(params.MODELS[path.stem].model_fields)


# Runs -------------------------------------------------------------------------------------------------

PHOTO = (83, 61)  # height and width


def execute(folder: Path, stem: str, profile: str, overrides: dict[str, str]) -> None:
    """Runs one notebook of the project ``folder`` with its smoke parameters into ``reports/<profile>/``.

    Each profile has a cache of its own: a second run that only loads would prove nothing.
    """
    out = folder / "reports" / profile / f"{stem}.ipynb"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("INPAINTLIB_CACHE", str(folder / f"cache-{profile}"))
        runner.run(folder / f"notebooks/{stem}.ipynb", folder / f"params/smoke/{stem}.yaml", out, overrides)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A copy of the project in which every notebook ran once, and one of them twice; two at a time.

    Half of the runs are this process's own: another one takes seconds to import the library.
    """
    folder = tmp_path_factory.mktemp("project")
    for name in ("notebooks", "params"):
        shutil.copytree(ROOT / name, folder / name)
    write_image(folder / "photo.png", pictures(1, PHOTO[0])[..., : PHOTO[1]])
    hole = torch.zeros(1, 1, *PHOTO)
    hole[..., 30:50, 20:40] = 1.0
    write_mask(folder / "mask.png", hole)
    own = {"image": "photo.png", "mask": "mask.png", "out": "reports/best.png"}
    wished = own | {"profile": "wishes", "attributes": "+Smiling,-Bald", "prompt": "a smiling woman"}
    wished |= {"out": "reports/wished.png", "crop": "aligned", "eyes": "22,25,36,26", "blend": "poisson"}
    runs = [("mse_lpips", "smoke", {}), ("inpaint", "smoke", own), ("generator", "smoke", {}),
            ("classifier", "smoke", {}), ("mask_robustness", "smoke", {}), ("naive_mse", "smoke", {}),
            ("mse_lpips", "again", {"profile": "again"}), ("clip", "smoke", {}), ("inpaint", "wishes", wished),
            ("stochasticity", "smoke", {}), ("regularisers", "smoke", {}),
            ("own_photo", "smoke", {})]  # fmt: skip

    spawn = multiprocessing.get_context("spawn")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("INPAINTLIB_ROOT", folder), ("PYTHONPATH", ROOT), ("OMP_NUM_THREADS", 1)):
            patch.setenv(name, str(value))
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            others = [pool.submit(execute, folder, *job) for job in runs[5:]]
            for job in runs[:5]:
                execute(folder, *job)
            for other in others:
                other.result()
        execute(folder, "summary", "smoke", {})
    return folder


def table(project: Path, name: str, profile: str = "smoke") -> pd.DataFrame:
    return pd.read_csv(project / "reports" / profile / "tables" / f"{name}.csv")


def said(project: Path, stem: str) -> str:
    """Everything that an executed notebook shows as text."""
    cells = code(project / "reports" / "smoke" / f"{stem}.ipynb")
    data = [output.get("data", {}) for cell in cells for output in cell.outputs]
    return "\n".join(str(d.get("text/markdown", "")) + str(d.get("text/html", "")) for d in data)


def assert_sound(scores: pd.DataFrame, methods: list[str], items: int) -> None:
    """One row for each method, item and region; finite numbers in their ranges."""
    assert scores["method"].drop_duplicates().tolist() == methods
    assert len(scores) == len(methods) * items * len(REGIONS)
    assert set(scores["region"]) == set(REGIONS) and set(scores["item"]) == set(range(items))
    assert np.isfinite(scores[["psnr", "ssim", "lpips", "l1"]]).all(axis=None)
    assert scores["ssim"].between(-1, 1).all() and scores["l1"].between(0, 2).all() and (scores["lpips"] > 0).all()


@pytest.mark.parametrize("stem", params.MODELS)
def test_a_run_shows_no_error_and_leaves_its_provenance(project, stem):
    nb = read(project / "reports" / "smoke" / f"{stem}.ipynb")
    kinds = {output.output_type for cell in nb.cells if cell.cell_type == "code" for output in cell.outputs}
    assert kinds <= {"execute_result", "display_data"}, "no warning, no stray print, no error"
    rows = table(project, f"{stem}-provenance")
    stated = dict(rows[rows["part"] == "parameter"][["name", "value"]].itertuples(index=False, name=None))
    assert set(stated) == set(params.MODELS[stem].model_fields) and stated["profile"] == "smoke"
    weights = rows[rows["part"] == "weights"]["value"]
    assert len(weights) >= 2 and weights.str.fullmatch("sha256:[0-9a-f]{64}").all()
    assert {"python", "torch", "commit"} <= set(rows[rows["part"] == "version"]["name"])
    assert str(project) not in json.dumps(nb.cells)


def test_naive_mse_scores_search_and_baseline(project):
    scores = table(project, "naive_mse-scores")
    assert_sound(scores, ["mean code", "naive MSE"], 3)
    assert_sound(table(project, "naive_mse-photograph"), ["naive MSE"], 1)
    summary = table(project, "naive_mse-summary")
    assert len(summary) == 2 * 4 * 4 and (summary["n"] == 3).all()
    assert ((summary["low"] <= summary["mean"]) & (summary["mean"] <= summary["high"])).all()
    hole = scores[scores["region"] == "hole"].groupby("method")["lpips"].mean()
    effect = hole["mean code"] - hole["naive MSE"]
    word = "better" if effect > 0 else "worse"
    assert f"the search is {word} in hole LPIPS by {abs(effect):.3f}" in said(project, "naive_mse")


def test_mse_lpips_scores_every_method_and_gives_its_verdict(project):
    modes = ["MSE + LPIPS, zero", "MSE + LPIPS, fill+features"]
    scores = table(project, "mse_lpips-scores")
    methods = ["MSE, W", "MSE, W+", "MSE, W+, 4 steps", *modes]
    assert_sound(scores, ["mean code", *methods], 3)
    assert_sound(table(project, "mse_lpips-photograph"), methods, 1)
    differences = table(project, "mse_lpips-differences").set_index("against")
    assert differences.index.tolist() == ["mean code", *methods[:-1]]
    hole = scores[scores["region"] == "hole"].groupby("method")["lpips"].mean()
    for other, saved in differences["difference"].items():
        assert saved == pytest.approx(hole[other] - hole["MSE + LPIPS, fill+features"], abs=1e-5)
    claim = json.loads((project / "reports/smoke/claims/mse_lpips-C1.json").read_text())
    row = differences.loc["MSE, W+"]
    assert [claim["effect"], claim["low"], claim["high"]] == pytest.approx([*row[["difference", "low", "high"]]])
    least = 0.1 * hole["MSE, W+"]  # the parameter `great`
    verdicts = {(True, True): "supported", (False, False): "not supported", (False, True): "undecided"}
    assert claim["verdict"] == verdicts[claim["low"] > least, claim["high"] >= least]
    assert "by at least 10% of" in claim["statement"] or "by 10% of" in claim["statement"]
    assert f"{abs(claim['effect']):.4f}" in said(project, "mse_lpips")


def test_the_faces_of_both_reports_are_the_same(project):
    """Their baselines are equal, so the reports can be compared face by face."""
    baselines = [scores[scores["method"] == "mean code"].reset_index(drop=True)
                 for scores in (table(project, f"{stem}-scores") for stem in ("naive_mse", "mse_lpips"))]  # fmt: skip
    pd.testing.assert_frame_equal(*baselines, check_exact=True)


def test_generator_tables_hold_the_network_and_its_probes(project):
    layers = table(project, "generator-architecture")
    assert layers["output"].iloc[-1] == "3 x 64 x 64" and (layers["parameters"] > 0).all()
    truncation = table(project, "generator-truncation")
    assert truncation["method"].tolist() == [0.5, 0.5, 1.0, 1.0]
    assert truncation["metric"].tolist() == ["diversity", "realism"] * 2 and truncation["n"].tolist() == [2, 4] * 2
    assert np.isfinite(truncation[["mean", "low", "high"]]).all(axis=None)
    deviation = table(project, "generator-deviation").set_index("source")
    assert (deviation > 0).all(axis=None)
    assert f"{deviation['mean deviation'].iloc[0]:.3f} on average" in said(project, "generator")


def test_inpaint_fills_the_hole_and_keeps_the_rest(project):
    before, after = read_image(project / "photo.png"), read_image(project / "reports" / "best.png")
    hole = torch.zeros(PHOTO, dtype=torch.bool)
    hole[30:50, 20:40] = True
    assert torch.equal(after[..., ~hole], before[..., ~hole])
    assert (after[..., hole] - before[..., hole]).abs().mean() > 0.1
    scores = table(project, "inpaint-scores")
    assert sorted(scores["seed"]) == [0, 1] and scores["objective"].is_monotonic_increasing
    assert np.isfinite(scores).all(axis=None)
    assert "The best sample is in `reports/best.png`." in said(project, "inpaint")


def test_wishes_are_judged_beside_every_sample(project):
    scores = table(project, "inpaint-scores", "wishes")
    assert list(scores.columns[-3:]) == ["+Smiling", "-Bald", "prompt"]
    assert scores["+Smiling"].between(0, 1).all() and scores["-Bald"].between(0, 1).all()
    assert scores["prompt"].between(-2, 2).all() and len(scores) == 2
    weights = table(project, "inpaint-provenance", "wishes").query("part == 'weights'")["name"]
    assert {"attributes-guide", "attributes-judge", "clip-guide", "clip-judge"} <= set(weights)
    assert not {"attributes-guide", "clip-guide"} & set(
        table(project, "inpaint-provenance").query("part == 'weights'")["name"]
    )
    assert (project / "reports" / "wished.png").is_file()


@pytest.mark.parametrize("stem", ["classifier", "clip"])
def test_steered_reports_pair_every_wish_with_the_search_without_it(project, stem):
    p = params.MODELS[stem].from_mapping(params.load(ROOT / f"params/smoke/{stem}.yaml"))
    success, costs = table(project, f"{stem}-success"), table(project, f"{stem}-costs")
    observers = {"judge", "clip_judge", "guide"} | ({"guide_clip"} if stem == "clip" else set())
    assert set(success["observer"]) == observers and (success["n"] == p.faces).all()
    assert np.allclose(success["mean"], success["after"] - success["before"], atol=1e-5)
    assert (success["low"] <= success["mean"]).all() and (success["mean"] <= success["high"]).all()
    assert set(costs["metric"]) == {"wish", "known_mse", "realism", "drift"} and np.isfinite(costs["mean"]).all()
    names = success["method"].drop_duplicates().tolist()
    assert len([n for n in names if "weight" in n]) == len(p.weights)
    assert len([n for n in names if "phases" in n]) == 2
    faces = table(project, f"{stem}-faces")
    assert len(faces) == len(names) * p.faces
    networks = table(project, f"{stem}-networks")
    assert networks["balanced_accuracy"].dropna().between(0, 1).all() and networks["network"].nunique() == 2
    assert table(project, f"{stem}-naturalness")["images"].iloc[0] == "no wish"


def test_the_classifier_report_decides_claim_c3_from_the_judges_rates(project):
    faces, claims = table(project, "classifier-faces"), project / "reports/smoke/claims"
    p = params.Classifier.from_mapping(params.load(ROOT / "params/smoke/classifier.yaml"))
    names = [prompting.parse_case(case).name for case in p.cases()]
    rows = faces[faces["method"].isin(names)]
    claim = json.loads((claims / "classifier-C3.json").read_text())
    assert claim["effect"] == pytest.approx((rows["judge_after"] - rows["judge_before"]).mean(), abs=1e-5)
    assert {f.name for f in claims.glob("classifier-*")} == {
        f"classifier-{c}.json" for c in ("C3", "C3-margin", "C3-soft")
    }


def test_the_clip_report_leaves_c4_undecided_and_names_unknown_words(project):
    claim = json.loads((project / "reports/smoke/claims/clip-C4.json").read_text())
    assert claim["verdict"] == "undecided" and "undecided" in said(project, "clip")
    prompts = table(project, "clip-prompts").set_index("prompt")
    assert prompts.loc["A woman with purple lipstick", "unknown words"] == "purple"
    assert prompts["readable"].sum() == len(prompts) - 1


def params_of(stem: str) -> params.Params:
    return params.MODELS[stem].from_mapping(params.load(ROOT / f"params/smoke/{stem}.yaml"))


def recorded(project: Path, name: str) -> dict:
    return json.loads((project / f"reports/smoke/claims/{name}.json").read_text())


def test_the_masks_of_the_robustness_report_are_frozen_and_every_face_sees_them(project):
    p, masks = params_of("mask_robustness"), table(project, "mask_robustness-masks")
    assert masks["sha256"].str.fullmatch("[0-9a-f]{64}").all() and masks["sha256"].is_unique
    assert ((masks["covered"] - masks["coverage"]).abs() <= 1 / 64).all()
    scores = table(project, "mask_robustness-scores")
    assert (scores.groupby(["method", "image"])["mask"].nunique() == len(masks)).all()
    assert scores["image"].nunique() == p.faces and scores["agreement"].between(0, 1).all()


def test_c6_is_supported_only_if_coverage_shape_and_position_are(project):
    parts = [recorded(project, f"mask_robustness-C6-{part}")["verdict"] for part in ("coverage", "shape", "position")]
    expected = (
        "supported" if set(parts) == {"supported"} else "not supported" if "not supported" in parts else "undecided"
    )
    whole = recorded(project, "mask_robustness-C6")
    assert whole["verdict"] == expected and whole["n"] == params_of("mask_robustness").faces


def test_c7_is_decided_from_the_gains_of_every_regulariser(project):
    p, faces = params_of("regularisers"), table(project, "regularisers-faces")
    assert (faces.groupby("method").size() == p.faces).all()
    climbed = faces["method"].str.startswith("adversarial")
    assert faces.loc[climbed, "logit"].isna().all() and faces.loc[~climbed, "logit"].notna().all()
    differences = table(project, "regularisers-differences").dropna(subset=["difference"])
    assert np.allclose(differences["difference"], differences["mean"] - differences["default"], atol=1e-4)
    assert (differences["p_holm"] >= differences["p"] - 1e-9).all()
    claim, improves = recorded(project, "regularisers-C7"), set(table(project, "regularisers-gains")["improves"])
    assert claim["least"] == p.noticeable and claim["n"] == p.faces
    expected = "supported" if improves == {"no"} else "not supported" if "yes" in improves else "undecided"
    assert claim["verdict"] == expected


def test_passes_are_counted_against_the_default(project):
    passes = table(project, "regularisers-passes")
    assert passes["method"].iloc[0] == "default"
    assert ((passes["low"] >= 1) & (passes["low"] <= passes["mean"]) & (passes["mean"] <= passes["high"])).all()
    assert (passes["high"] <= params_of("regularisers").steps).all()


def test_the_summary_has_a_verdict_or_a_reason_for_every_claim(project):
    claims = table(project, "summary-claims").set_index("id")
    assert {f"C{i}" for i in range(1, 9)} <= set(claims.index)
    assert set(claims["verdict"]) <= {"supported", "not supported", "undecided"}
    for path in (project / "reports/smoke/claims").glob("*.json"):
        assert path.stem.partition("-")[2] in claims.index, path.name


def test_the_embedded_profile_fits_its_budget():
    """At most 30,000 generator passes over all notebooks; each run holds its own grid to its share."""
    shares = {path.stem: params.load(path).get("image_steps", 0) for path in (ROOT / "params/embedded").glob("*.yaml")}
    assert sum(shares.values()) <= 30_000
    searching = {stem for stem, model in params.MODELS.items() if "image_steps" in model.model_fields}
    assert {stem for stem, share in shares.items() if share} == searching


@every_notebook
def test_every_search_goes_through_the_store(path):
    """So that the grid is held to its budget, and a killed run goes on."""
    cells = [cell.source for cell in code(path) if not is_parameters(cell)]
    for source in cells:  # each call has the store beside its batch size, be it by way of a dictionary of options
        assert len(re.findall(r"\bbatch_size\b\W*=|\"batch_size\"", source)) <= source.count("run.store"), source
    assert any("run.store" in source for source in cells) == issubclass(params.MODELS[path.stem], params.Inversion)


@pytest.mark.parametrize("profile", ["embedded", "ffhq"])
@pytest.mark.parametrize("stem", ["classifier", "clip"])
def test_the_grids_with_wishes_use_their_share(stem, profile, monkeypatch):
    """Jobs are counted, nothing is searched."""
    monkeypatch.setattr(losses, "load_percept", lambda name: tiny_percept())
    monkeypatch.setattr(losses, "load_classifier", lambda name: tiny_classifier())
    monkeypatch.setattr(losses, "load_clip", lambda name: None)
    monkeypatch.setattr(losses, "clip_term", lambda *args, **options: losses.mse_term())
    p = params.MODELS[stem].from_mapping(params.load(ROOT / f"params/{profile}/{stem}.yaml"))
    how = (p.search(), p.two_phases())
    if stem == "classifier":
        jobs = prompting.classifier_jobs(p.terms(), p.classifier(), *how, **p.grid())
    else:
        jobs = prompting.clip_jobs(p.terms(), p.clip(), p.classifier(), *how, **p.grid())
    assert 0.8 * p.image_steps <= prompting.image_steps(jobs, p.faces) <= p.image_steps


def test_two_runs_give_the_same_tables_bit_for_bit(project):
    folders = [project / "reports" / profile / "tables" for profile in ("smoke", "again")]
    names = sorted(path.name for path in folders[1].glob("mse_lpips-*.csv"))
    assert len(names) >= 6
    for name in names:
        first, second = ((folder / name).read_text() for folder in folders)
        if name == "mse_lpips-provenance.csv":
            second = second.replace("parameter,profile,again", "parameter,profile,smoke")
        if name != "mse_lpips-timing.csv":
            assert first == second, name
    claims = [(project / "reports" / p / "claims" / "mse_lpips-C1.json").read_bytes() for p in ("smoke", "again")]
    assert claims[0] == claims[1]


def test_every_figure_is_shown_and_nothing_is_left_unfinished(project):
    left = [path.name for path in (project / "reports").rglob("*") if ".failed." in path.name or ".tmp" in path.name]
    assert left == [] and os.listdir(project / "reports" / "again") != []
    for stem in params.MODELS:
        files = list((project / "reports/smoke/figures").glob(f"{stem}-*.png"))
        cells = code(project / "reports" / "smoke" / f"{stem}.ipynb")
        shown = [o for cell in cells for o in cell.outputs if "image/png" in o.get("data", {})]
        assert len(files) == len(shown) >= (1 if stem == "summary" else 3)
