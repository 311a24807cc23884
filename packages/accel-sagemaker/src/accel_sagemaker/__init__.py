"""Training jobs of Amazon SageMaker, from the settings of accelerate.

from accel_sagemaker import job, submit

request = job(settings, "train.py", ["--lr", "0.1"])    # settings: from accel_config.resolve
submitted = submit(request)
submitted.name, submitted.console
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .request import JobRequest, job
    from .submission import Submitted, submit

__all__ = ["JobRequest", "Submitted", "job", "submit"]


def __getattr__(name: str) -> object:
    """Import a public name on its first use: the help of the command needs none."""
    if name in ("JobRequest", "job"):
        from . import request as where
    elif name in ("Submitted", "submit"):
        from . import submission as where
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(where, name)
