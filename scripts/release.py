"""Releases one package: bumps its version, folds its fragments into its CHANGELOG, checks its dependents, builds it.

`uv run scripts/release.py accel-tpu 0.1.1`; docs/releasing.md walks through a release. Every check and the build run
before the first file of the workspace changes, so a refused release changes nothing.
"""

from __future__ import annotations

import argparse
import datetime
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any, NoReturn

from packaging.requirements import Requirement
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).resolve().parent.parent
KINDS = {"removal": "Removed", "feature": "Added", "fix": "Fixed"}
"""The kinds of fragments, with their headings, in the order of the CHANGELOG."""
FRAGMENT = re.compile(rf"(?P<issue>\d+)\.(?P<kind>{'|'.join(KINDS)})\.md")
Changes = dict[Path, str | None]
"""The new text of each file; None removes it."""


def refuse(message: str) -> NoReturn:
    """Exit with ``message`` and status 2."""
    print("".join(f"release: {line}\n" for line in message.splitlines()), end="", file=sys.stderr)
    sys.exit(2)


def members() -> dict[str, dict[str, Any]]:
    """Return the project table of each package, by name."""
    files = sorted(ROOT.glob("packages/*/pyproject.toml"))
    return {path.parent.name: tomllib.loads(path.read_text())["project"] for path in files}


def successors(version: Version) -> list[Version]:
    """Return the versions that may follow: the next patch, minor and major version."""
    major, minor, patch = version.release
    return [Version(f"{major}.{minor}.{patch + 1}"), Version(f"{major}.{minor + 1}.0"), Version(f"{major + 1}.0.0")]


def breaking(version: Version) -> Version:
    """Return the next version that may break dependents: before 1.0 the next minor version, then the next major."""
    _patch, minor, major = successors(version)
    return minor if version.major == 0 else major


def fragments(package: str) -> dict[Path, re.Match[str]]:
    """Return the package's fragments with the parts of their names, by kind and issue."""
    found: dict[Path, re.Match[str]] = {}
    for path in (ROOT / "changes" / package).glob("*"):
        named = FRAGMENT.fullmatch(path.name)
        if named is None:
            refuse(f"{path.relative_to(ROOT)} isn't named ISSUE.KIND.md, with the kind {', '.join(KINDS)}")
        found[path] = named
    if not found:
        refuse(f"changes/{package} has no fragments, so there is nothing to release")
    order = list(KINDS)
    return dict(sorted(found.items(), key=lambda item: (order.index(item[1]["kind"]), int(item[1]["issue"]))))


def check_version(package: str, old: Version, new: str, found: dict[Path, re.Match[str]]) -> Version:
    """Return the new version, if it may follow ``old`` with these fragments."""
    try:
        version = Version(new)
    except InvalidVersion:
        refuse(f"{new!r} isn't a version")
    allowed = successors(old)
    removals = [path for path, named in found.items() if named["kind"] == "removal"]
    if removals:
        allowed = [each for each in allowed if each >= breaking(old)]
    if version not in allowed:
        why = f", because of {removals[0].relative_to(ROOT)}" if removals else ""
        refuse(f"{package} {old} can be followed by {' or '.join(map(str, allowed))}{why}, not by {version}")
    return version


def folded(package: str, version: Version, date: str, found: dict[Path, re.Match[str]]) -> str:
    """Return the CHANGELOG with a section for the version, made of the fragments."""
    text = (ROOT / "packages" / package / "CHANGELOG.md").read_text()
    head = f"# Changelog of {package}\n"
    if not text.startswith(head):
        refuse(f"packages/{package}/CHANGELOG.md doesn't begin with {head.strip()!r}")
    section = f"\n## {version} ({date})\n"
    for kind, title in KINDS.items():
        own = {path: named for path, named in found.items() if named["kind"] == kind}
        if own:
            section += f"\n### {title}\n\n"
        for path, named in own.items():
            first, *rest = path.read_text().strip().splitlines()
            lines = [f"- {first}", *(f"  {line}" for line in rest)]
            lines[-1] += f" (#{named['issue']})"
            section += "\n".join(lines) + "\n"
    return head + section + text.removeprefix(head)


def set_version(text: str, old: Version, new: Version) -> str:
    """Return a pyproject.toml with the version replaced."""
    return re.sub(rf'^version = "{re.escape(str(old))}"$', f'version = "{new}"', text, count=1, flags=re.MULTILINE)


def requirements(project: dict[str, Any]) -> list[str]:
    """Return the requirements of a package, those of its extras included."""
    lines: list[str] = list(project.get("dependencies", []))
    for extra in project.get("optional-dependencies", {}).values():
        lines += extra
    return lines


def dependents(package: str, new: Version, *, widen: bool) -> Changes:
    """Check that every dependent's bounds admit the new version; with ``widen``, change those that don't."""
    limit = breaking(new)
    changes: Changes = {}
    refusals: list[str] = []
    for name, project in members().items():
        path = ROOT / "packages" / name / "pyproject.toml"
        for line in requirements(project):
            requirement = Requirement(line)
            if requirement.name != package or requirement.specifier.contains(new, prereleases=True):
                continue
            if widen and "<" in line:
                widened = re.sub(r"<[^,;]+", f"<{limit.major}.{limit.minor}", line)
                changes[path] = (changes.get(path) or path.read_text()).replace(f'"{line}"', f'"{widened}"')
            else:
                refusals.append(f"{path.relative_to(ROOT)}: {line!r} doesn't admit {package} {new}")
    if refusals:
        refuse("\n".join([*refusals, "change these bounds, or let --widen raise their upper limits"]))
    return changes


def locked(package: str, old: Version, new: Version) -> str:
    """Return the lock file with the package's version replaced."""
    head = f'[[package]]\nname = "{package}"\nversion = '
    text = (ROOT / "uv.lock").read_text()
    if f'{head}"{old}"' not in text:
        refuse(f"uv.lock has no {package} {old}; run: uv lock")
    return text.replace(f'{head}"{old}"', f'{head}"{new}"')


def build(package: str, changes: Changes, out: Path) -> list[Path]:
    """Build the sdist and the wheel in a copy of the package, with the changes; return their paths in ``out``."""
    source = ROOT / "packages" / package
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, package)
        shutil.copytree(source, copy, ignore=shutil.ignore_patterns("dist", "__pycache__"))
        for path, text in changes.items():
            if path.is_relative_to(source) and text is not None:
                (copy / path.relative_to(source)).write_text(text)
        done = subprocess.run(
            ["uv", "build", "--quiet", "--no-sources", "--out-dir", Path(folder, "built"), copy],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            refuse(f"{package} can't be built:\n{done.stderr.strip()}")
        out.mkdir(parents=True, exist_ok=True)
        built = [path for path in Path(folder, "built").iterdir() if path.name != ".gitignore"]
        return sorted(Path(shutil.copy2(path, out / path.name)) for path in built)


def main() -> None:
    """Release the package that the arguments name."""
    parser = argparse.ArgumentParser("release", description="Release one package of the workspace.")
    parser.add_argument(
        "package", choices=sorted(members()), metavar="PACKAGE", help="The package, such as accel-tpu."
    )
    parser.add_argument("version", metavar="VERSION", help="The new version, such as 0.1.1.")
    parser.add_argument("--widen", action="store_true", help="Raise the upper limits of dependents that need it.")
    parser.add_argument(
        "--date", type=datetime.date.fromisoformat, default=datetime.date.today(), help="[default: today]"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "dist", metavar="FOLDER", help="[default: dist]")
    arguments = parser.parse_args()
    package: str = arguments.package
    project = ROOT / "packages" / package / "pyproject.toml"
    old = Version(members()[package]["version"])
    found = fragments(package)
    new = check_version(package, old, arguments.version, found)
    changes = dependents(package, new, widen=arguments.widen)
    changes[project] = set_version(changes.get(project) or project.read_text(), old, new)
    changes[project.with_name("CHANGELOG.md")] = folded(package, new, arguments.date, found)
    changes[ROOT / "uv.lock"] = locked(package, old, new)
    changes |= dict.fromkeys(found)
    built = build(package, changes, arguments.out)
    for path, text in changes.items():
        path.unlink() if text is None else path.write_text(text)
        print(f"{'removed' if text is None else 'wrote'} {path.relative_to(ROOT)}")
    for path in built:
        print(f"built {path}")


if __name__ == "__main__":
    main()
