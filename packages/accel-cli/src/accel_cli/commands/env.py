"""`env`: what a bug report should say of the machine, the packages and the config. No secret is printed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from accel_config.console import show
from accel_config.errors import AccelError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence

    from accel_launch import Host

USAGE = 2
GIGABYTE = 1024**3
OURS = ("accel-cli", "accel-config", "accel-launch", "accel-estimate", "accel-tpu", "accel-sagemaker")
OTHERS = ("accelerate", "numpy", "torch", "transformers", "deepspeed", "transformer-engine", "torchao", "torch-xla")
# What the ranks' libraries are told by their own variables; the names that hold secrets are masked.
PREFIXES = ("ACCELERATE_", "CUDA_", "NCCL_", "TORCH_", "OMP_", "FSDP_", "HF_", "SLURM_", "NVIDIA_", "DS_")
ABSENT = "not installed"
NOT_FOUND = "not found"


def main(argv: Sequence[str] | None = None, program: str = "accelerate-env") -> int:
    """Print the facts; return the exit status."""
    try:
        arguments = _parser(program).parse_args(sys.argv[1:] if argv is None else list(argv))
        found = facts(torch=arguments.torch)
        found.update(_config(arguments.config_file))
        show(_json(found) if arguments.json else _text(found))
    except SystemExit as stop:  # argparse has said why, or printed the help
        return USAGE if stop.code is None else int(stop.code)
    except AccelError as error:
        for line in str(error).splitlines():
            print(f"{program}: {line}", file=sys.stderr)
        return error.status
    return 0


def _parser(program: str) -> ArgumentParser:
    from argparse import ArgumentParser

    parser = ArgumentParser(program, description="Show the environment, for a bug report. Secrets are left out.")
    parser.add_argument("--config_file", "--config-file", metavar="PATH", help="the config file to show")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--torch", action="store_true", help="import torch, and ask it what it sees")
    return parser


def facts(*, torch: bool = False) -> dict[str, object]:
    """Return the facts by name, in the order in which they are shown; torch itself is asked only with ``torch``."""
    from accel_config import CATALOGUE, masking
    from accel_launch import Host

    from ..ownership import owner

    host = Host.here()
    found: dict[str, object] = {f"`{name}` version": _version(name) for name in (*OURS, *OTHERS)}
    found["Platform"] = _platform()
    location = host.ask.program("accelerate")
    found["`accelerate` location"] = location or NOT_FOUND
    found["`accelerate` belongs to"] = owner(location) if location else NOT_FOUND
    found["Python version"] = f"{sys.version.split()[0]} ({sys.executable})"
    found.update(_machine(host))
    found["Devices"] = [f"{device} {device.model}".strip() for device in host.devices] or "none"
    found["NVIDIA driver"] = host.driver or NOT_FOUND
    found["Variables"] = masking.environment(
        {name: text for name, text in sorted(os.environ.items()) if name.startswith(PREFIXES)}, CATALOGUE.by_variable
    )
    if torch:
        found.update(_torch())
    return found


def _version(distribution: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(distribution)
    except PackageNotFoundError:
        return ABSENT


def _platform() -> str:
    import platform

    return platform.platform()


def _machine(host: Host) -> dict[str, object]:
    """Return cores and memory: what the machine has, and what our cgroup leaves us of it."""
    from accel_launch import cgroup

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    cpus, granted = cgroup.cpus(), cgroup.memory()
    return {
        "CPU cores": f"{os.cpu_count()} logical, {host.cores} physical for us",
        "System RAM": f"{memory / GIGABYTE:.2f} GB",
        "cgroup CPUs": "no limit" if cpus is None else f"{cpus:g}",
        "cgroup memory": "no limit" if granted is None else f"{granted / GIGABYTE:.2f} GB",
    }


def _torch() -> dict[str, object]:
    try:
        import torch
    except ImportError as error:
        return {"torch says": f"it can't be imported: {error}"}
    kinds = [kind for kind in ("cuda", "xpu", "npu", "mlu", "mps") if _available(getattr(torch, kind, None))]
    cuda = torch.cuda if "cuda" in kinds else None
    names = [cuda.get_device_name(place) for place in range(cuda.device_count())] if cuda else []
    return {
        "torch says": {
            "version": str(torch.__version__),
            "accelerator": kinds[0].upper() if kinds else "N/A",
            "devices": names,
            "CUDA": torch.version.cuda or "not built for it",
        }
    }


def _available(module: object) -> bool:
    ask = getattr(module, "is_available", None)
    return bool(ask and ask())


def _config(named: str | None) -> dict[str, object]:
    """Return what the config file says, masked, under a heading that tells which file it is."""
    from accel_config import CATALOGUE
    from accel_config.files import load
    from accel_config.layers import location
    from accel_config.masking import shown

    path, origin = location(CATALOGUE, named, os.environ)
    heading = f"`Accelerate` {'config passed' if origin else 'default config'}"
    if not Path(path).is_file():
        if origin:
            raise AccelError(f"{origin}: the config file {path} doesn't exist")
        return {heading: NOT_FOUND}
    try:
        read = load(CATALOGUE, path)
    except AccelError as error:  # a broken file is what the report may be about
        return {heading: {"file": path, "problem": str(error)}}
    settings = ((CATALOGUE.by_name[name], value) for name, value in read.values.items())
    said = {str(one.key): shown(one, value) for one, value in settings}
    problems = [problem.message.partition(", not ")[0] for problem in read.problems]
    return {heading: {"file": path, **said, **({"problems": problems} if problems else {})}}


def _json(found: dict[str, object]) -> str:
    import json

    return json.dumps({name.replace("`", ""): value for name, value in found.items()}, indent=2) + "\n"


def _text(found: dict[str, object]) -> str:
    from accel_config.listing import line as one_line

    lines = ["", "Copy this into your issue:", ""]
    for name, value in found.items():
        if isinstance(value, dict):
            inner: dict[str, object] = value  # pyright: ignore[reportUnknownVariableType]
            lines.append(f"- {name}:" if inner else f"- {name}: none")
            lines += [f"\t- {key}: {one_line(text)}" for key, text in inner.items()]
        else:
            lines.append(f"- {name}: {one_line(value)}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
