"""Libraries of a script, changed as they are imported: models are built without weights, and nothing is saved."""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from importlib.util import find_spec
from threading import local

from accel_estimate.tracing.script.memory import UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

    from accel_estimate.tracing.script.writing import Writing

SAVES: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "torch": {"": ("save",)},
    "torch.distributed.checkpoint": {"": ("save", "async_save")},
    "torch.utils.tensorboard.writer": {
        "SummaryWriter": ("__init__", "add_scalar", "add_scalars", "add_text", "flush", "close"),
    },
    "safetensors.torch": {"": ("save_file", "save_model")},
    "transformers.modeling_utils": {"PreTrainedModel": ("save_pretrained", "push_to_hub")},
    "transformers.configuration_utils": {"PretrainedConfig": ("save_pretrained", "push_to_hub")},
    "transformers.tokenization_utils_base": {"PreTrainedTokenizerBase": ("save_pretrained", "push_to_hub")},
    "transformers.trainer": {
        "Trainer": ("save_model", "_save_checkpoint", "push_to_hub", "save_state", "init_hf_repo"),
    },
    "peft.peft_model": {"PeftModel": ("save_pretrained",)},
    "accelerate.accelerator": {"Accelerator": ("save_state", "save_model", "save", "init_trackers", "log")},
    "huggingface_hub.hf_api": {"HfApi": ("upload_file", "upload_folder", "create_commit", "create_repo")},
    "wandb": {"": ("init", "log", "finish")},
    "mlflow": {"": ("start_run", "log_metrics", "log_metric", "log_params")},
}  # fmt: skip
"""What saves, tracks or pushes: modules, their classes (or none), and the functions that are skipped."""

DOWNLOADS: Mapping[str, tuple[str, ...]] = {
    "urllib.request": ("urlretrieve",),
    "torch.hub": ("download_url_to_file",),
    "huggingface_hub.file_download": ("http_get", "xet_get"),
    "torchvision.datasets.utils": ("_urlretrieve",),
}
"""What downloads files."""


class Changes(MetaPathFinder):
    """Changes modules once they are imported."""

    def __init__(self, changes: Mapping[str, list[Callable[[ModuleType], None]]]) -> None:
        self._changes, self._asking = changes, local()

    def begin(self) -> None:
        """Change what is imported already, and what will be."""
        for name in self._changes:
            if name in sys.modules:
                self._change(sys.modules[name])
        sys.meta_path.insert(0, self)

    def find_spec(self, name: str, *_where: Any) -> ModuleSpec | None:
        """Find a module as Python does, and change it after it has run."""
        if name not in self._changes or getattr(self._asking, "name", "") == name:
            return None
        self._asking.name = name
        try:
            spec = find_spec(name)
        finally:
            self._asking.name = ""
        if spec is None or spec.loader is None:
            return None
        run = spec.loader.exec_module

        def run_and_change(module: ModuleType) -> None:
            run(module)
            self._change(module)

        spec.loader.exec_module = run_and_change  # pyright: ignore[reportAttributeAccessIssue]
        return spec

    def _change(self, module: ModuleType) -> None:
        for change in self._changes[module.__name__]:
            change(module)


def saving(writing: Writing) -> dict[str, list[Callable[[ModuleType], None]]]:
    """Return the changes that skip what saves."""

    def change(names: Mapping[str, tuple[str, ...]]) -> Callable[[ModuleType], None]:
        def skip(module: ModuleType) -> None:
            for owner, functions in names.items():
                where = getattr(module, owner, None) if owner else module
                for name in functions:
                    if hasattr(where, name):
                        title = f"{owner or module.__name__}.{name}" if name != "__init__" else owner
                        setattr(where, name, writing.skips(title))

        return skip

    return {module: [change(names)] for module, names in SAVES.items()}


def downloading() -> dict[str, list[Callable[[ModuleType], None]]]:
    """Return the changes that refuse to download."""

    def refused(address: Any = "", *_args: Any, **_named: Any) -> None:
        what = f" {address}" if isinstance(address, str) and address else ""
        raise UnsupportedError(f"downloads{what}, and nothing is written; run the script once to have its files")

    def change(names: tuple[str, ...]) -> Callable[[ModuleType], None]:
        def refuse(module: ModuleType) -> None:
            for name in names:
                if hasattr(module, name):
                    setattr(module, name, refused)

        return refuse

    return {module: [change(names)] for module, names in DOWNLOADS.items()}
