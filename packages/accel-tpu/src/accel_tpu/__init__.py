"""TPU hosts and pods.

from accel_tpu import Pod, run

result = run(Pod("my-tpu", "us-central1-a"), "pip install -U datasets")
result.status, result.outcomes      # 0, (("worker 0", "ok"), ("worker 1", "ok"), ...)
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_tpu.gcloud import Pod
    from accel_tpu.library import run

    __version__: str

__all__ = ["Pod", "run"]

_WHERE = {"Pod": "gcloud", "run": "library"}


def __getattr__(name: str) -> object:
    """Import a public name on its first use: the engines import this package and need none of them."""
    if name == "__version__":
        from accel_config.showing.installing import version

        return version("accel-tpu")
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    """Return the names of the module, those that are imported on their first use too."""
    return sorted({*globals(), *__all__})
