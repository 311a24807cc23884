"""The versions of libraries, read from the names of folders: nothing is imported."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# Those that ranks of one run exchange data with, or that change what each computes.
LIBRARIES = frozenset(
    (
        *("accelerate", "datasets", "deepspeed", "diffusers", "evaluate", "huggingface_hub", "peft", "safetensors"),
        *("tokenizers", "transformers", "trl", "bitsandbytes", "flash_attn", "megatron_core", "transformer_engine"),
        *("xformers", "triton", "numpy", "torchvision", "torchaudio", "torchao", "torchdata", "liger_kernel"),
        *("nvidia_nccl_cu11", "nvidia_nccl_cu12", "nvidia_nccl_cu13", "nvidia_cudnn_cu12", "nvidia_cudnn_cu13"),
        *("torch", "accel_launch"),
    )
)
LONGEST = 8192  # bytes of torch's file of versions


def folders(python: str) -> tuple[str, ...]:
    """Return where the ranks' interpreter finds libraries, the first first."""
    if python == sys.executable:
        return tuple(filter(None, sys.path))
    first = tuple(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    library = os.path.join(os.path.dirname(os.path.dirname(_whole(python))), "lib")
    named = (os.path.join(library, one) for one in _listed(library) if one.startswith("python"))
    return (*first, *(os.path.join(one, end) for one in named for end in ("site-packages", "dist-packages")))


def python_version(python: str) -> str:
    """Return the version of the ranks' interpreter; only major and minor if its folders show no more."""
    if python == sys.executable:
        return ".".join(map(str, sys.version_info[:3]))
    prefix = os.path.dirname(os.path.dirname(_whole(python)))
    for line in _text(os.path.join(prefix, "pyvenv.cfg")).splitlines():
        name, _, version = line.partition("=")
        if name.strip() in ("version", "version_info"):
            return ".".join(version.strip().split(".")[:3])
    found = [one for one in _listed(os.path.join(prefix, "lib")) if one.startswith("python3.")]
    return found[0].removeprefix("python") if found else ""


def versions(among: Iterable[str]) -> dict[str, str]:
    """Return the version of each of the libraries that is installed in these folders."""
    found: dict[str, str] = {}
    for folder in among:
        for name in _listed(folder):
            stem, _, end = name.rpartition(".")
            if end not in ("dist-info", "egg-info"):
                continue
            project, _, version = stem.partition("-")
            project = project.lower().replace(".", "_")
            if project in LIBRARIES and version:
                found.setdefault(project, version.partition("-")[0])
    return found


def torch_build(among: Iterable[str]) -> dict[str, str]:
    """Return what torch's own file says of its build: ``__version__``, ``cuda`` and ``hip``; empty without torch."""
    text = next(filter(None, (_text(os.path.join(folder, "torch", "version.py")) for folder in among)), "")
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.partition("=")
        name, value = name.partition(":")[0].strip(), value.strip().strip("'\"")
        if equals and name in ("__version__", "cuda", "hip") and value != "None":
            found[name] = value
    return found


def _whole(python: str) -> str:
    if "/" in python:
        return os.path.abspath(os.path.expanduser(python))
    paths = (os.path.join(one, python) for one in os.environ.get("PATH", os.defpath).split(os.pathsep))
    return next(filter(os.path.exists, paths), python)


def _listed(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(LONGEST).decode(errors="replace")
    except OSError:
        return ""
