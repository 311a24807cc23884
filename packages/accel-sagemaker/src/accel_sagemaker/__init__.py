"""Training jobs of Amazon SageMaker, from the settings of accelerate.

from accel_sagemaker import job, submit

request = job(settings, "train.py", ["--lr", "0.1"])    # settings: from accel_config.resolve
submitted = submit(request)
submitted.name, submitted.console
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_sagemaker.building.assembly import job
    from accel_sagemaker.building.request import JobRequest
    from accel_sagemaker.service.submission import Submitted, submit

    __version__: str

__all__ = ["JobRequest", "Submitted", "job", "submit"]

_WHERE = {
    "JobRequest": "building.request",
    "Submitted": "service.submission",
    "job": "building.assembly",
    "submit": "service.submission",
}


def __getattr__(name: str) -> object:
    """Import a public name on its first use: the help of the command needs none of them."""
    if name == "__version__":
        from accel_config.showing.installing import version

        return version("accel-sagemaker")
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    """Return the names of the module, those that are imported on their first use too."""
    return sorted({*globals(), *__all__})
