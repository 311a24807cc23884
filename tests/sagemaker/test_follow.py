"""Following a job to its end: statuses, logs, and the exit status that it stands for."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from tests.conftest import BIN
from tests.schedule import sampled

from .conftest import Sagemaker, Said, keys
from .service import Service, ServiceError, story

NAME = "job-1"
STREAM = f"{NAME}/algo-1-1700000000"
Logs = Callable[[], Said]


@pytest.fixture
def logs(sagemaker: Sagemaker, service: Service) -> Callable[[], Said]:
    """Follow the job to its end."""

    def run() -> Said:
        service.jobs.setdefault(NAME, {"at": time.time(), "ResourceConfig": {"InstanceCount": 1}})
        return sagemaker("logs", NAME)

    return run


def test_statuses_and_lines_come_once_and_in_order(logs: Logs, service: Service) -> None:
    service.story = story("Starting", "Training", "Training", "Uploading")
    service.logs = {STREAM: [f"line {number}" for number in range(5)], f"{NAME}2/algo-1-1": ["another job's"]}
    done = logs()
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"line {number}" for number in range(5)]
    err = [line.split("] ")[1] for line in done.stderr.splitlines() if "] " in line]
    steps = ["Starting", "Training", "Training", "Uploading", "Completed"]
    assert err == [f"{step}: {step} it" for step in steps]
    assert f"job {NAME} completed after 0:01:05; model: s3://models/model.tar.gz" in done.stderr


@pytest.mark.exhaustive
def test_an_empty_page_is_not_the_end(logs: Logs, sagemaker: Sagemaker, service: Service) -> None:
    service.empty = 2
    service.logs = {STREAM: [f"line {number}" for number in range(5)]}
    assert logs().stdout.splitlines() == [f"line {number}" for number in range(5)]
    assert sagemaker("logs", "--no_wait", NAME).stdout.count("line") == 5


@pytest.mark.usefixtures("sagemaker")
def test_after_an_interrupt_the_logs_go_on_with_the_line_in_hand(service: Service) -> None:
    from accel_sagemaker.service.credentials import Credentials
    from accel_sagemaker.service.training import TrainingJob

    service.page = 4
    service.logs = {STREAM: [f"line {number}" for number in range(6)]}
    job = TrainingJob(NAME, "us-east-1", Credentials())
    interrupted = job.lines()
    assert [next(interrupted).text for _line in range(3)] == ["line 0", "line 1", "line 2"]
    del interrupted
    service.logs[STREAM].append("line 6")
    assert [line.text for line in job.lines()] == ["line 2", "line 3", "line 4", "line 5", "line 6"]


@pytest.mark.exhaustive
def test_a_line_that_arrives_after_the_end_is_shown(logs: Logs, service: Service) -> None:
    service.logs = {STREAM: ["early"]}
    service.late = {STREAM: ["late"]}
    assert logs().stdout.splitlines() == ["early", "late"]


def test_several_hosts_are_distinguished(logs: Logs, service: Service) -> None:
    service.jobs[NAME] = {"at": time.time(), "ResourceConfig": {"InstanceCount": 2}}
    service.logs = {STREAM: ["a"], f"{NAME}/algo-2-1700000000": ["b"]}
    assert sorted(logs().stdout.splitlines()) == ["[algo-1] a", "[algo-2] b"]


def test_a_job_that_has_not_logged_yet_is_waited_for(logs: Logs, service: Service) -> None:
    service.group = False
    assert logs().returncode == 0


@pytest.mark.parametrize(
    ("end", "reason", "status"),
    sampled(
        [
            ("Completed", "", 0),
            ("Failed", "AlgorithmError: ExitCode 7: ValueError: bad (train.py:3)", 7),
            ("Failed", 'AlgorithmError: ExecuteUserScriptError:\nExitCode 137\nErrorMessage ""', 137),
            ("Failed", "AlgorithmError: ExecuteUserScriptError:\nExitCode -9", 137),
            ("Failed", "ClientError: Data download failed", 1),
            ("Failed", "ExitCode 0", 1),
            ("Failed", "", 1),
            ("Stopped", "", 130),
            ("Stopped/MaxRuntimeExceeded", "", 1),
            ("Stopped/MaxWaitTimeExceeded", "", 1),
        ],
        every=3,
    ),
)
def test_the_exit_status_is_the_jobs(logs: Logs, service: Service, end: str, reason: str, status: int) -> None:
    service.story = story("Training", end=end)
    service.reason = reason
    done = logs()
    assert done.returncode == status
    assert reason.partition("\n")[0] in done.stderr
    assert "Traceback" not in done.stderr


def test_logs_that_may_not_be_read_do_not_end_the_wait(logs: Logs, service: Service) -> None:
    denied = ServiceError("AccessDeniedException", "not authorized to perform logs:DescribeLogStreams")
    service.failures["DescribeLogStreams"] = [denied] * 50
    done = logs()
    assert done.returncode == 0
    assert done.stderr.count("the job is followed without its logs") == 1


def test_a_session_that_expires_leaves_the_job(logs: Logs, service: Service) -> None:
    service.story = story("Starting", "Training", "Training", "Training")
    service.logs = {STREAM: ["a line"]}
    service.failures["GetLogEvents"] = []
    service.failures["DescribeTrainingJob"] = [ServiceError("ExpiredTokenException", "The security token is expired")]
    done = logs()
    assert done.returncode == 1
    assert "the session has expired" in done.stderr
    assert f"job {NAME} still runs" in done.stderr
    assert not service.asked("StopTrainingJob")


def test_a_fault_of_the_service_is_sat_out(logs: Logs, service: Service) -> None:
    service.failures["DescribeTrainingJob"] = [ServiceError("InternalFailure", "try again", 500)] * 3
    assert logs().returncode == 0


@pytest.fixture
def follower(service: Service, environ: dict[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A follower without a terminal of a job that still runs for ever."""
    service.story = [("InProgress", "Training")]
    service.jobs[NAME] = {"at": time.time()}
    env = {**environ, **keys(tmp_path), **service.variables}
    words = (BIN / "accelerate", "sagemaker", "logs", "--sagemaker_poll_interval", "0.05", NAME)
    with subprocess.Popen(
        words,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        yield running
        running.kill()


def test_ctrl_c_without_a_terminal_leaves_the_job(follower: subprocess.Popen[str], service: Service) -> None:
    assert follower.stderr is not None
    assert follower.stdin is not None
    assert "Training" in follower.stderr.readline()
    follower.stdin.write("s\n")
    follower.stdin.flush()
    follower.send_signal(signal.SIGINT)
    err = follower.stderr.read()
    assert follower.wait(10) == -signal.SIGINT
    assert f"job {NAME} still runs; follow it with 'accelerate sagemaker logs --region us-east-1 {NAME}'" in err
    assert not service.asked("StopTrainingJob")


def test_a_reader_that_goes_away_leaves_the_job(follower: subprocess.Popen[str], service: Service) -> None:
    assert follower.stdout is not None
    assert follower.stderr is not None
    follower.stderr.readline()
    follower.stdout.close()
    service.logs[STREAM] = ["a line for nobody"]
    err = follower.stderr.read()
    assert follower.wait(10) == 141
    assert f"the reader of the logs has gone; job {NAME} still runs" in err


@pytest.mark.parametrize(("answer", "stopped"), [("s", True), ("l", False)])
def test_ctrl_c_at_a_terminal_asks(
    answer: str, stopped: bool, service: Service, environ: dict[str, str], tmp_path: Path
) -> None:
    service.story = [("InProgress", "Training")]
    service.jobs[NAME] = {"at": time.time()}
    words = ["sagemaker", "logs", "--sagemaker_poll_interval", "0.05", NAME]
    env = {**environ, **keys(tmp_path), **service.variables}
    terminal = pexpect.spawn(str(BIN / "accelerate"), words, env=env, encoding="utf-8", timeout=20)  # pyright: ignore[reportArgumentType]
    terminal.expect("Training")
    terminal.sendintr()
    terminal.expect("top the job, ")
    terminal.sendline("what")
    terminal.expect("top the job, ")
    terminal.sendline(answer)
    terminal.expect("stopped after" if stopped else "still runs")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert (terminal.exitstatus, terminal.signalstatus) == ((130, None) if stopped else (None, signal.SIGINT))
    assert bool(service.asked("StopTrainingJob")) == stopped
