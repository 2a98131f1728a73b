"""The module map: who may import whom inside the package, read from the sources."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "inpaintlib"

# Module -> the package's modules that it may import when it is imported itself. Data flows downwards.
ALLOWED = {
    "errors": set(),
    "checks": {"errors"},
    "alignment": {"checks"},
    "machine": {"checks"},
    "formulas": {"checks"},
    "ops": {"checks"},
    "data": {"checks"},
    "files": {"errors"},
    "images": {"checks", "files"},
    "holes": {"alignment"},
    "masks": {"alignment", "checks", "holes", "images"},
    "zoo": {"errors"},
    "weights": {"alignment", "checks", "files", "zoo"},
    "layers": {"checks", "ops"},
    "discriminator": {"checks", "layers", "ops"},
    "stylegan2": {"checks", "discriminator", "layers", "ops"},
    "features": {"checks", "weights"},
    "terms": set(),
    "views": {"checks"},
    "captions": {"checks"},
    "attributes": {"checks", "images", "weights"},
    "clip": {"captions", "checks", "images", "weights"},
    "steering": {"attributes", "captions", "checks", "clip", "terms", "views", "weights"},
    "codes": {"stylegan2"},
    "priors": {"checks", "codes", "stylegan2", "terms", "weights"},
    "losses": {"attributes", "checks", "clip", "features", "priors", "steering", "terms", "weights"},
    "search": {"checks"},
    "noise": set(),
    "optimisers": {"search"},
    "record": {"search", "stylegan2"},
    "problem": {"checks", "codes", "images", "losses", "noise", "optimisers", "record", "search", "stylegan2"},
    "invert": {"checks", "codes", "losses", "problem", "record", "search", "stylegan2"},
    "metrics": {"checks", "features", "masks"},
    "distances": {"checks", "metrics"},
    "extractors": {"checks", "features", "images"},
    "sets": {"attributes", "checks", "distances", "extractors", "features", "metrics"},
    "figures": {"checks", "images", "masks", "metrics", "stylegan2"},
    "__init__": {"checks", "invert", "losses", "stylegan2", "weights"},
    # The experiments that the notebooks run:
    "store": {"checks", "files", "machine"},
    "grid": {"checks", "images", "invert", "losses", "record", "store", "stylegan2", "weights"},
    "experiments": {
        "alignment",
        "checks",
        "codes",
        "features",
        "grid",
        "images",
        "invert",
        "losses",
        "metrics",
        "stylegan2",
    },
    "probes": {"checks", "experiments", "features", "images", "metrics", "stylegan2"},
    "prompting": {"attributes", "checks", "figures", "grid", "invert", "losses", "masks", "store", "stylegan2"},
    "robustness": {
        "attributes",
        "checks",
        "data",
        "experiments",
        "features",
        "grid",
        "images",
        "invert",
        "masks",
        "metrics",
        "sets",
        "store",
        "stylegan2",
    },
    "corruptions": {
        "checks",
        "experiments",
        "features",
        "grid",
        "images",
        "masks",
        "metrics",
        "params",
        "robustness",
        "store",
        "stylegan2",
    },
    "hardness": {"checks", "experiments", "metrics", "robustness"},
    "maskfigures": {"experiments", "figures", "images", "robustness"},
    "spread": {"checks", "features"},
    "spectra": {"checks", "codes", "images", "spread", "stylegan2"},
    "fillings": {
        "checks",
        "experiments",
        "grid",
        "losses",
        "masks",
        "probes",
        "record",
        "search",
        "store",
        "stylegan2",
    },
    "stochasticity": {"features", "fillings", "images", "metrics", "search", "spectra", "spread"},
    "fillingfigures": {"figures", "fillings", "images", "spectra", "stochasticity"},
    "fillingreadings": {"fillings", "metrics", "stochasticity"},
    "scoreboard": {"clip", "metrics", "weights"},
    "judging": {
        "attributes",
        "captions",
        "checks",
        "clip",
        "experiments",
        "features",
        "invert",
        "losses",
        "metrics",
        "probes",
        "prompting",
        "sets",
        "stylegan2",
        "weights",
    },
    "warping": {"alignment", "images"},
    "blending": {"checks"},
    "landmarks": {"alignment", "checks", "images"},
    "framing": {"alignment", "blending", "checks", "images", "landmarks", "masks", "warping"},
    "own": {
        "attributes",
        "captions",
        "clip",
        "features",
        "figures",
        "framing",
        "grid",
        "images",
        "invert",
        "losses",
        "record",
        "store",
        "stylegan2",
    },
    "ownphoto": {
        "alignment",
        "blending",
        "figures",
        "framing",
        "images",
        "invert",
        "landmarks",
        "masks",
        "metrics",
        "warping",
    },
    "readings": {"clip", "experiments", "judging", "metrics", "scoreboard"},
    "benchmark": {
        "experiments",
        "features",
        "invert",
        "losses",
        "machine",
        "masks",
        "search",
        "stylegan2",
        "weights",
    },
    "regularisers": {
        "checks",
        "claims",
        "experiments",
        "features",
        "grid",
        "invert",
        "losses",
        "metrics",
        "probes",
        "search",
        "sets",
        "stylegan2",
    },
    "tradeoffs": {"claims", "experiments", "figures", "invert", "losses", "metrics", "regularisers"},
    # Weights of others. All but convert and what is above it run without torch.
    "published.__init__": set(),
    "published.pickles": {"errors"},
    "published.torchfiles": {"errors", "published.pickles"},
    "published.snapshots": {"errors", "published.pickles", "published.torchfiles"},
    "published.configs": {"errors", "published.pickles"},
    "published.rosinality": {"errors"},
    "published.networks": {
        "errors",
        "published.configs",
        "published.pickles",
        "published.rosinality",
        "published.snapshots",
        "published.torchfiles",
    },
    "published.child": {"errors", "published.networks"},
    "published.convert": {
        "alignment",
        "checks",
        "codes",
        "errors",
        "files",
        "ops",
        "published.child",
        "published.pickles",
        "stylegan2",
        "weights",
    },
    "published.fetch": {"errors", "files", "published.convert", "weights", "zoo"},
    # The explorer, beside the notebooks:
    "explorer.__init__": set(),
    "explorer.pictures": {"checks", "images"},
    "explorer.editor": {"alignment", "checks", "explorer.pictures", "images", "masks", "warping"},
    "explorer.settings": {"blending", "checks", "framing", "invert", "search", "steering", "strict", "wishparams"},
    "explorer.results": {"checks", "explorer.pictures", "explorer.settings", "images"},
    "explorer.session": {
        "checks",
        "explorer.pictures",
        "explorer.results",
        "explorer.settings",
        "files",
        "images",
        "masks",
    },
    "explorer.canvas": {"checks", "explorer.editor", "explorer.pictures", "explorer.session", "images"},
    "explorer.events": {"explorer.results"},
    "explorer.previews": {"explorer.events", "framing", "images", "params", "record"},
    "explorer.filling": {
        "checks",
        "explorer.pictures",
        "explorer.results",
        "explorer.session",
        "explorer.settings",
        "features",
        "framing",
        "images",
        "invert",
        "judging",
        "own",
        "params",
        "record",
        "study",
        "stylegan2",
        "weights",
    },
    "explorer.controller": {
        "alignment",
        "checks",
        "experiments",
        "explorer.canvas",
        "explorer.editor",
        "explorer.events",
        "explorer.filling",
        "explorer.pictures",
        "explorer.previews",
        "explorer.results",
        "explorer.session",
        "explorer.settings",
        "images",
        "landmarks",
        "machine",
        "masks",
        "stylegan2",
        "weights",
    },
    # Its widgets, and the server of the page:
    "explorer.brush": {"checks", "explorer.pictures"},
    "explorer.parts": {"checks", "explorer.brush", "explorer.pictures"},
    "explorer.forms": {"attributes", "blending", "checks", "explorer.parts", "explorer.settings", "framing", "invert"},
    "explorer.live": {"explorer.events", "explorer.parts", "explorer.pictures", "figures", "images"},
    "explorer.gallery": {"explorer.parts", "explorer.pictures", "explorer.results"},
    "explorer.app": {
        "checks",
        "explorer.brush",
        "explorer.controller",
        "explorer.events",
        "explorer.forms",
        "explorer.gallery",
        "explorer.live",
        "explorer.parts",
        "explorer.pictures",
        "explorer.results",
        "images",
        "masks",
        "study",
    },
    "explorer.server": {"checks", "study"},
    # Beside the core, for the notebooks and the command line:
    "strict": {"checks", "features", "invert", "losses", "masks", "search"},
    "wishparams": {"blending", "framing", "invert", "losses", "search", "steering", "strict"},
    "params": {"strict", "wishparams"},
    "pages": set(),
    "study": {"checks", "files", "machine", "pages", "params", "store"},
    "claims": {"checks", "study"},
    "reference": {"checks", "claims", "files", "study"},
    "summary": {"checks", "claims", "figures", "metrics", "pages", "study"},
    "report": {"checks", "claims", "files", "formulas", "pages", "params", "reference", "study"},
    "runner": {"checks", "files", "params", "study"},
    "inpaint": {
        "attributes",
        "blending",
        "checks",
        "clip",
        "features",
        "files",
        "framing",
        "images",
        "judging",
        "landmarks",
        "machine",
        "masks",
        "own",
        "params",
        "report",
        "runner",
        "study",
        "weights",
    },
    "__main__": {
        "alignment",
        "checks",
        "inpaint",
        "published.convert",
        "published.fetch",
        "reference",
        "report",
        "runner",
    },
}
# What a module may import inside its functions besides, when they are called.
ALLOWED_LATER = {"weights": {"stylegan2"}}
TRAINING = {"__init__", "attributes", "augment", "card", "cards", "cli", "clip", "faces", "faces64", "gan", "percept"}


def package_imports(path: Path) -> tuple[set[str], set[str]]:
    """Returns the modules of the package that a source imports at import time, and later in functions."""
    tree = ast.parse(path.read_text())
    later = {id(n) for f in ast.walk(tree) if isinstance(f, (ast.FunctionDef, ast.Lambda)) for n in ast.walk(f)}
    found: tuple[set[str], set[str]] = (set(), set())
    for node in ast.walk(tree):
        *folder, _ = path.relative_to(PACKAGE).parts
        found[id(node) in later].update(_targets(node, depth=len(folder) + 1, folder=".".join(folder)))
    return found


def _targets(node: ast.AST, depth: int, folder: str) -> set[str]:
    if isinstance(node, ast.Import):
        names = [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.level == 0:
        names = [node.module] if node.module != "inpaintlib" else [f"inpaintlib.{a.name}" for a in node.names]
    elif isinstance(node, ast.ImportFrom):
        # One dot too few reaches a sibling inside a subfolder, written here as folder.module.
        prefix = "inpaintlib." if node.level == depth else f"inpaintlib.{folder}."
        names = [prefix + (node.module or alias.name) for alias in node.names]
    else:
        names = []
    return {name.removeprefix("inpaintlib.") for name in names if name.startswith("inpaintlib.")}


MODULES = sorted(path for folder in (".", "published", "explorer") for path in (PACKAGE / folder).glob("*.py"))


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_module_imports_only_what_the_map_allows(path):
    name = name_of(path)
    assert name in ALLOWED, f"{name} is not in the module map"
    now, later = package_imports(path)
    assert now <= ALLOWED[name]
    assert later <= ALLOWED[name] | ALLOWED_LATER.get(name, set())


def test_training_may_import_everything_and_nothing_imports_training():
    paths = list(PACKAGE.glob("**/*.py"))
    assert {p.stem for p in paths if p.parent.name == "train"} == TRAINING
    assert {p.parent for p in paths} == {PACKAGE, *(PACKAGE / folder for folder in ("train", "published", "explorer"))}
    for path in MODULES:
        assert not any(name.split(".")[0] == "train" for name in set().union(*package_imports(path))), path.name


def test_the_map_has_no_cycle_and_no_unknown_name():
    done: set[str] = set()
    while ready := {m for m, needs in ALLOWED.items() if m not in done and needs <= done}:
        done |= ready
    assert done == set(ALLOWED)


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("**/*.py")), ids=lambda p: p.stem)
def test_nothing_unpickles_or_evaluates(path):
    called = {ast.unparse(n.func) for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)}
    assert not called & {"eval", "exec", "pickle.load", "pickle.loads"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "torch.load":
            assert any(k.arg == "weights_only" and ast.unparse(k.value) == "True" for k in node.keywords)
