"""Which modules have a right to be on each system. ``python -m tests.platforms.rooms`` checks their types for all of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SYSTEMS = {"darwin": "Darwin", "win32": "Windows"}
"""The others, with pyright's names for them."""
LINUX = ("accel_tpu.spawn", "accel_sagemaker.entry")
"""Programs for the machines of a cloud."""
WITHOUT: dict[str, tuple[str, ...]] = {
    "darwin": LINUX,
    "win32": (
        *LINUX,
        "accel_launch.running",
        "accel_launch.hosts",
        "accel_launch.inspecting",
        "accel_launch.ranks",
        "accel_launch.machine.forks",
        "accel_launch.machine.process_tree",
        "accel_launch.sharing.taking",
        "accel_cli.commands.runs.live",
        "accel_tpu.relay",
    ),
}
"""What only supervises, looks at or connects processes, and so isn't for Windows. What planning imports of it must import there."""


def modules(system: str) -> Iterator[tuple[str, Path]]:
    """The modules that have a right to be there, and their files; the programs of ``ranks`` are found by their path."""
    for package in sorted(ROOT.glob("packages/*/src/accel_*")):
        for path in sorted(package.rglob("*.py")):
            name = ".".join(path.relative_to(package.parent).with_suffix("").parts).removesuffix(".__init__")
            if not any(f"{name}.".startswith(f"{room}.") for room in WITHOUT.get(system, ())):
                yield name, path


def check() -> int:
    """Check the types for both, and that the list of what isn't there is typeshed's; return the exit status."""
    import subprocess

    from tests.platforms import absent

    status = 0
    folder = absent.stubs()
    if folder is None or absent.written(folder) != absent.LIST.read_text():
        print("absent.txt isn't what typeshed says now: see absent.py")
        status = 1
    for system, title in SYSTEMS.items():
        files = [str(path.relative_to(ROOT)) for _name, path in modules(system)]
        print(f"{title}: {len(files)} modules", flush=True)
        status |= subprocess.run(["pyright", "--pythonplatform", title, *files], cwd=ROOT).returncode
    return status


if __name__ == "__main__":
    sys.exit(check())
