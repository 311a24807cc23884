"""Training jobs of Amazon SageMaker, from the settings of accelerate.

from accel_sagemaker import job, submit

request = job(settings, "train.py", ["--lr", "0.1"])    # settings: from accel_config.resolve
submitted = submit(request)
submitted.name, submitted.console
"""

from .request import JobRequest, job
from .submit import Submitted, submit

__all__ = ["JobRequest", "Submitted", "job", "submit"]
