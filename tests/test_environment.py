"""pyproject.toml is the only list of dependencies: the lock and environment.yml must follow it."""

from __future__ import annotations

import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from inpaintlib.study import project_root

ROOT = project_root()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
DIRECT = [Requirement(text) for text in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["dev"]]
LOCK = (ROOT / "requirements.lock").read_text()
PINNED = [Requirement(line) for line in LOCK.splitlines()]


@pytest.mark.parametrize("direct", DIRECT, ids=lambda r: r.name)
def test_every_dependency_is_locked_at_a_version_that_it_allows(direct):
    pins = [pin for pin in PINNED if canonicalize_name(pin.name) == canonicalize_name(direct.name)]
    assert pins, "missing in requirements.lock; run `make lock`"
    for pin in pins:
        (exact,) = pin.specifier
        assert exact.operator == "=="
        assert direct.specifier.contains(exact.version)


def test_the_lock_names_no_host_and_no_folder():
    assert not re.search(r"https?:|file:|@|--|/", LOCK)


def test_environment_yml_only_points_to_the_lock():
    dependencies = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    names = {d.split()[0] for d in dependencies if isinstance(d, str)}
    assert names == {"python", "pip", "make"}, "a package listed here would be a second truth"
    assert [d["pip"] for d in dependencies if isinstance(d, dict)] == [["-r requirements.lock", "-e ."]]


def test_the_python_versions_agree():
    conda = next(d for d in yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"] if "python" in d)
    assert conda.split()[1] == PROJECT["requires-python"]
    low, high = re.search(
        r"\((\d+, \d+)\) <= sys.version_info\[:2\] < \((\d+, \d+)\)", (ROOT / "Makefile").read_text()
    ).groups()
    assert f">={low.replace(', ', '.')},<{high.replace(', ', '.')}" == PROJECT["requires-python"]


def test_the_check_of_a_clone_looks_for_the_browsers_of_the_tests():
    browsers = re.findall(r'shutil.which\("([\w-]+)"\)', (ROOT / "tests" / "conftest.py").read_text())
    assert f"command -v {' '.join(browsers)} >" in (ROOT / ".ci" / "run").read_text()


def test_figures_of_the_readme_are_kept_and_reports_are_not():
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert ignored.index("reports/*") < ignored.index("!reports/readme/")
