"""TPU hosts and pods.

from accel_tpu import Pod, run

result = run(Pod("my-tpu", "us-central1-a"), "pip install -U datasets")
result.status, result.outcomes      # 0, (("worker 0", "ok"), ("worker 1", "ok"), ...)
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .gcloud import Pod
    from .library import run

__all__ = ["Pod", "run"]

_WHERE = {"Pod": "gcloud", "run": "library"}


def __getattr__(name: str) -> object:
    """Import a public name on its first use: the engines are found through this package, and need neither."""
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_WHERE[name]}", __name__), name)
