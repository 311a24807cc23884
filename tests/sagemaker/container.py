"""A job's container without the container: its folders under a root of the test's, and the real toolkit that it runs."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from accel_sagemaker import JobRequest

INSTANCE = "ml.p3.2xlarge"
PYTORCH = {"SAGEMAKER_TRAINING_MODULE": "sagemaker_pytorch_container.training:main"}
"""What the images with PyTorch set; without it the toolkit runs every program as one plain process."""


class Container:
    """One host of a job, laid out as the service lays it out; a new one for each run."""

    def __init__(
        self, base: Path, toolkit: Path, request: JobRequest, hosts: tuple[str, ...] = ("127.0.0.1",)
    ) -> None:
        self.base, self.toolkit, self.request, self.hosts = base, toolkit, request, hosts
        self.uploaded = False
        """Whether the bundle is where the request says; otherwise it is packed here."""

    @property
    def failure(self) -> str:
        """What the service would show as the reason of the failure."""
        return (self.base / "output" / "failure").read_text()[:1024]

    def start(self, host: str | None = None, **variables: str) -> subprocess.Popen[str]:
        """Start the toolkit as the image would, in a session of its own."""
        host = host or self.hosts[0]
        for folder in ("model", "output/data", "input/config", "input/data/train"):
            (self.base / folder).mkdir(parents=True)
        self._write("hyperparameters", self._hyperparameters(packed=not self.uploaded))
        self._write("inputdataconfig", self._channels())
        self._write("resourceconfig", self._resources(host))
        environ = {
            name: text for name, text in os.environ.items() if not name.startswith(("ACCELERATE_", "SM_", "AWS_"))
        }
        environ |= self.request.body["Environment"]
        environ |= {
            "SAGEMAKER_BASE_DIR": str(self.base),
            "PATH": f"{self.toolkit}:{os.environ['PATH']}",
            "AWS_DEFAULT_REGION": "us-east-1",
            **variables,
        }
        return subprocess.Popen(
            [self.toolkit / "train"],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, **variables: str) -> tuple[int, str]:
        """Run to the end; return the toolkit's status and all output."""
        with self.start(**variables) as running:
            output, _nothing = running.communicate(timeout=120)
        return running.returncode, output

    def _write(self, name: str, content: dict[str, Any]) -> None:
        (self.base / "input" / "config" / f"{name}.json").write_text(json.dumps(content))

    def _hyperparameters(self, *, packed: bool) -> dict[str, str]:
        sent: dict[str, str] = self.request.body["HyperParameters"]
        if not packed:
            return sent
        archive = self.base / "sourcedir.tar.gz"
        archive.write_bytes(self.request.bundle.pack())
        return {**sent, "sagemaker_submit_directory": json.dumps(str(archive))}

    def _channels(self) -> dict[str, Any]:
        return {
            "train": {
                "TrainingInputMode": "File",
                "S3DistributionType": "FullyReplicated",
                "RecordWrapperType": "None",
            }
        }

    def _resources(self, host: str) -> dict[str, Any]:
        hosts = list(self.hosts)
        group = {"instance_group_name": "homogeneousCluster", "instance_type": INSTANCE, "hosts": hosts}
        return {
            "current_host": host,
            "hosts": hosts,
            "current_instance_type": INSTANCE,
            "current_group_name": "homogeneousCluster",
            "network_interface_name": "lo",
            "instance_groups": [group],
        }
