"""A stand-in for SageMaker and its logs that plays any story; it speaks the services' own wire format, as strictly.

moto completes a job at once and accepts what the service refuses. Here a job goes through the statuses that its story
lists, one for each time it is asked for, and logs what the story says.
"""

from __future__ import annotations

import json
import threading
import time
from email.message import Message
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from botocore.loaders import Loader
from botocore.model import ServiceModel
from botocore.validate import ParamValidator

ACCOUNT = "123456789012"
JSON = "application/x-amz-json-1.1"
TARGETS = {"SageMaker": "sagemaker", "Logs_20140328": "logs"}


class ServiceError(Exception):
    """An error that the service answers."""

    def __init__(self, code: str, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.code, self.message, self.status = code, message, status


@cache
def model(service: str) -> ServiceModel:
    """The service's own description of its operations."""
    return ServiceModel(Loader().load_service_model(service, "service-2"))


def story(*steps: str, end: str = "Completed") -> list[tuple[str, str]]:
    """The statuses of a job: secondary ones in progress, then the end as ``Status`` or ``Status/Secondary``."""
    status, _, secondary = end.partition("/")
    return [*(("InProgress", step) for step in steps), (status, secondary or status)]


class Service:
    """The scripted server. What was asked is in `calls`; what it answers is set by the test."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.story: list[tuple[str, str]] = story("Starting", "Training")
        self.reason = ""
        self.logs: dict[str, list[str]] = {}
        """Lines by stream, from the look on that `log_from` says."""
        self.late: dict[str, list[str]] = {}
        """Lines that are there only some looks at the logs after the job has ended."""
        self.looks_after = 0
        self.page = 2
        self.group = True
        self.failures: dict[str, list[ServiceError]] = {}
        """Errors to answer, by operation, one for each call until they are used up."""
        self.slow: dict[str, float] = {}
        """Seconds that an operation takes."""
        self.odd: dict[str, Any] = {}
        """What to answer instead, by operation: any JSON, or bytes that aren't JSON."""
        self.empty = 0
        """Pages without a line that come before each of those that have some."""
        self.jobs: dict[str, dict[str, Any]] = {}
        self.looks = 0
        self.stopped = False
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Service:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    @property
    def variables(self) -> dict[str, str]:
        return {"AWS_ENDPOINT_URL_SAGEMAKER": self.address, "AWS_ENDPOINT_URL_CLOUDWATCH_LOGS": self.address}

    def asked(self, operation: str) -> list[dict[str, Any]]:
        """The requests of an operation, in order."""
        return [request for name, request in self.calls if name == operation]

    @property
    def over(self) -> bool:
        seen = self.story[min(self.looks, len(self.story)) - 1] if self.looks else ("", "")
        return self.stopped or seen[0] in ("Completed", "Failed", "Stopped")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"{}")
                try:
                    status, answer = 200, service.answer(self.headers, body)
                except ServiceError as error:
                    status, answer = error.status, {"__type": error.code, "message": error.message}
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", JSON)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_request(self, *_args: object, **_named: object) -> None:
                """Say nothing."""

        return Handler

    def answer(self, headers: Message, body: dict[str, Any]) -> Any:
        """Answer one call, refusing what isn't signed or isn't of the operation's shape."""
        prefix, _, operation = headers["X-Amz-Target"].partition(".")
        if not headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 Credential="):
            raise ServiceError("MissingAuthenticationTokenException", "Missing Authentication Token")
        if headers["Content-Type"] != JSON:
            raise ServiceError("SerializationException", "wrong content type")
        self.calls.append((operation, body))
        time.sleep(self.slow.get(operation, 0))
        if self.failures.get(operation):
            raise self.failures[operation].pop(0)
        shape = model(TARGETS[prefix]).operation_model(operation).input_shape
        assert shape is not None
        report = ParamValidator().validate(body, shape)
        if report.has_errors():
            raise ServiceError("ValidationException", report.generate_report())
        if operation in self.odd:
            return self.odd[operation]
        return {
            "CreateTrainingJob": self._create,
            "DescribeTrainingJob": self._describe,
            "StopTrainingJob": self._stop,
            "DescribeLogStreams": self._streams,
            "GetLogEvents": self._events,
        }[operation](body)

    def _create(self, body: dict[str, Any]) -> dict[str, Any]:
        name = body["TrainingJobName"]
        if name in self.jobs:
            raise ServiceError("ResourceInUse", f"Training job names must be unique: {name}")
        self.jobs[name] = {**body, "at": time.time()}
        return {"TrainingJobArn": f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:training-job/{name}"}

    def _job(self, name: str) -> dict[str, Any]:
        if name not in self.jobs:
            raise ServiceError("ValidationException", "Requested resource not found.")
        return self.jobs[name]

    def _describe(self, body: dict[str, Any]) -> dict[str, Any]:
        job = self._job(body["TrainingJobName"])
        place = min(self.looks, len(self.story) - 1)
        status, secondary = self.story[place]
        self.looks += 1
        if self.stopped:
            status, secondary = "Stopped", "Stopped"
        steps = [step for _status, step in self.story[: place + 1]]
        answer = {
            "TrainingJobName": body["TrainingJobName"],
            "TrainingJobArn": f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:training-job/{body['TrainingJobName']}",
            "TrainingJobStatus": status,
            "SecondaryStatus": secondary,
            "CreationTime": job["at"],
            "LastModifiedTime": job["at"] + 65,
            "StoppingCondition": job.get("StoppingCondition", {}),
            "ResourceConfig": job.get("ResourceConfig", {}),
            "ModelArtifacts": {"S3ModelArtifacts": "s3://models/model.tar.gz"},
            "SecondaryStatusTransitions": [
                {"Status": step, "StartTime": job["at"], "StatusMessage": f"{step} it"} for step in steps
            ],
        }
        if status == "Failed" and self.reason:
            answer["FailureReason"] = self.reason
        return answer

    def _stop(self, body: dict[str, Any]) -> dict[str, Any]:
        self._job(body["TrainingJobName"])
        if self.over:
            raise ServiceError(
                "ValidationException", "The request was rejected because the training job is in status"
            )
        self.stopped = True
        return {}

    def _streams(self, body: dict[str, Any]) -> dict[str, Any]:
        if not self.group:
            raise ServiceError("ResourceNotFoundException", "The specified log group does not exist.")
        self.looks_after += self.over
        prefix = body["logStreamNamePrefix"]
        names = [name for name in self.logs if name.startswith(prefix)]
        return {"logStreams": [{"logStreamName": name} for name in names]}

    def _events(self, body: dict[str, Any]) -> dict[str, Any]:
        lines = list(self.logs[body["logStreamName"]])
        if self.looks_after > 1:
            lines += self.late.get(body["logStreamName"], [])
        start, empty = map(int, body.get("nextToken", "f/0/0").split("/")[1:])
        found = lines[start : start + self.page]
        if found and empty < self.empty:
            found, empty = [], empty + 1
        elif found:
            empty = 0
        events = [{"timestamp": 1, "ingestionTime": 1, "message": line} for line in found]
        return {"events": events, "nextForwardToken": f"f/{start + len(found)}/{empty}", "nextBackwardToken": "b/0"}
