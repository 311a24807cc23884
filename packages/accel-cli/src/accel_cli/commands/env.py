"""`env`: the machine, the packages and the config for a bug report. Secrets are masked."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from accel_config import front
from accel_config.errors import AccelError
from accel_config.showing.console import show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence

    from accel_launch import Host

GIGABYTE = 1024**3
OURS = ("accel-cli", "accel-config", "accel-launch", "accel-estimate", "accel-tpu", "accel-sagemaker")
OTHERS = ("accelerate", "numpy", "torch", "transformers", "deepspeed", "transformer-engine", "torchao", "torch-xla")
# The variables that the ranks' libraries read.
PREFIXES = ("ACCELERATE_", "CUDA_", "NCCL_", "TORCH_", "OMP_", "FSDP_", "HF_", "SLURM_", "NVIDIA_", "DS_")
ABSENT = "not installed"
NOT_FOUND = "not found"


def main(argv: Sequence[str] | None = None, program: str = "accelerate-env") -> int:
    """Print the facts; return the exit status."""
    return front.run(lambda words: _env(words, program), argv, program)


def _env(words: list[str], program: str) -> int:
    arguments = parser(program).parse_args(words)
    found = facts(torch=arguments.torch)
    found.update(_config(arguments.config_file))
    show(_json(found) if arguments.json else _text(found))
    return 0


def parser(program: str) -> ArgumentParser:
    """Return the parser of the command's arguments."""
    from accel_cli.commands.parser import Parser

    found = Parser(program, "Print the environment for a bug report. Secrets are masked.")
    found.flag(
        "--config_file",
        metavar="FILE",
        help="The config file to show. [default: the default config file]",
    )
    found.flag("--json", action="store_true", help="Print JSON.")
    found.flag("--torch", action="store_true", help="Import torch, and show its version and devices.")
    return found


def facts(*, torch: bool = False) -> dict[str, object]:
    """Return the facts by name, in the order of the output; import torch only with ``torch``."""
    from accel_cli.ownership import owner
    from accel_config import CATALOGUE
    from accel_config.showing import masking
    from accel_launch import Host

    host = Host.here()
    found: dict[str, object] = {f"`{name}` version": _version(name) for name in (*OURS, *OTHERS)}
    found["Platform"] = _platform()
    location = host.probe.programs.find("accelerate")
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
    from accel_config.showing.installing import version

    return version(distribution, ABSENT)


def _platform() -> str:
    import platform

    return platform.platform()


def _memory() -> str:
    ask = getattr(os, "sysconf", None)
    return f"{ask('SC_PAGE_SIZE') * ask('SC_PHYS_PAGES') / GIGABYTE:.2f} GB" if ask else "unknown"


def _machine(host: Host) -> dict[str, object]:
    """Return the cores and the memory of the machine, and the limits of our cgroup."""
    from accel_launch.machine import cgroup

    cpus, granted = cgroup.cpus(), cgroup.memory()
    return {
        "CPU cores": f"{os.cpu_count()} logical, {host.cores} physical available",
        "System RAM": _memory(),
        "cgroup CPUs": "no limit" if cpus is None else f"{cpus:g}",
        "cgroup memory": "no limit" if granted is None else f"{granted / GIGABYTE:.2f} GB",
    }


def _torch() -> dict[str, object]:
    try:
        import torch
    except ImportError as error:
        return {"torch": f"can't be imported: {error}"}
    kinds = [kind for kind in ("cuda", "xpu", "npu", "mlu", "mps") if _available(getattr(torch, kind, None))]
    cuda = torch.cuda if "cuda" in kinds else None
    names = [cuda.get_device_name(place) for place in range(cuda.device_count())] if cuda else []
    return {
        "torch": {
            "version": str(torch.__version__),
            "accelerator": kinds[0].upper() if kinds else "N/A",
            "devices": names,
            "CUDA": torch.version.cuda or "not in this build",
        }
    }


def _available(module: object) -> bool:
    ask = getattr(module, "is_available", None)
    return bool(ask and ask())


def _config(named: str | None) -> dict[str, object]:
    """Return the config file's settings, masked, under a heading that names the file."""
    from accel_config import CATALOGUE
    from accel_config.reading.layers import location
    from accel_config.reading.own import load_all
    from accel_config.reading.places import own_path
    from accel_config.showing.masking import sentence, shown

    path, origin = location(CATALOGUE, named, os.environ)
    heading = f"`Accelerate` {'config passed' if origin else 'default config'}"
    own = own_path(path, os.environ)
    if not Path(path).is_file() and not (own and Path(own).is_file()):
        if origin:
            raise AccelError(f"{origin}: the config file {path} doesn't exist")
        return {heading: NOT_FOUND}
    try:
        read = load_all(CATALOGUE, path, own)
    except AccelError as error:  # the report may be about a broken file
        return {heading: {"file": path, "problem": sentence(str(error))}}
    settings = ((CATALOGUE.by_name[name], value) for name, value in read.values.items())
    values = {str(one.key): shown(one, value) for one, value in settings}
    files = {"file": path, **({"own file": own} if own is not None and Path(own).is_file() else {})}
    problems = [sentence(problem.message.partition(", not ")[0]) for problem in read.problems]
    return {heading: {**files, **values, **({"problems": problems} if problems else {})}}


def _json(found: dict[str, object]) -> str:
    import json

    return json.dumps({name.replace("`", ""): value for name, value in found.items()}, indent=2) + "\n"


def _text(found: dict[str, object]) -> str:
    from accel_config.showing.wording import line as one_line

    lines = ["", "Copy this into your issue:", ""]
    for name, value in found.items():
        if isinstance(value, dict):
            inner: dict[str, object] = value  # pyright: ignore[reportUnknownVariableType]
            lines.append(f"- {name}:" if inner else f"- {name}: none")
            lines += [f"\t- {one_line(key)}: {one_line(text)}" for key, text in inner.items()]
        else:
            lines.append(f"- {name}: {one_line(value)}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
