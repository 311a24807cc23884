"""Each member has its own version, and its bounds on its fellows admit theirs: uv's lock doesn't look at that."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from tests.conftest import ROOT

MEMBERS: dict[str, dict[str, Any]] = {
    path.parent.name: tomllib.loads(path.read_text())["project"] for path in ROOT.glob("packages/*/pyproject.toml")
}


def requirements(project: dict[str, Any]) -> list[Requirement]:
    extras = project.get("optional-dependencies", {}).values()
    return [Requirement(line) for lines in (project.get("dependencies", []), *extras) for line in lines]


def test_there_are_six() -> None:
    assert len(MEMBERS) == 6


@pytest.mark.parametrize("name", sorted(MEMBERS))
def test_bounds_admit_what_the_workspace_holds(name: str) -> None:
    for requirement in requirements(MEMBERS[name]):
        if requirement.name in MEMBERS:
            assert Version(MEMBERS[requirement.name]["version"]) in requirement.specifier, requirement


@pytest.mark.parametrize("name", sorted(MEMBERS))
def test_fellows_are_bound_on_both_sides(name: str) -> None:
    """From the version that has what is used, to before the next that may break it."""
    for requirement in map(Requirement, MEMBERS[name]["dependencies"]):
        if requirement.name in MEMBERS:
            assert {bound.operator for bound in requirement.specifier} == {">=", "<"}, requirement


@pytest.mark.parametrize("name", sorted(MEMBERS))
def test_every_member_has_its_papers(name: str) -> None:
    folder = ROOT / "packages" / name
    module = name.replace("-", "_")
    assert (folder / "README.md").read_text().startswith(f"# {name}\n")
    assert MEMBERS[name]["version"] in (folder / "CHANGELOG.md").read_text()
    assert (folder / "src" / module / "py.typed").exists()
    assert MEMBERS[name]["scripts"]


def test_the_lock_holds_a_torch_of_today() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text())
    versions = [Version(package["version"]) for package in lock["package"] if package["name"] == "torch"]
    assert max(versions) > Version("2.9.99"), "torch-xla's old torch has taken over the whole lock"
