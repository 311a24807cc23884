"""Imports all modules, then calls commands in this process, with a profile or without; prints what went wrong."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import traceback
from importlib import import_module
from pathlib import Path

from tests.platforms.rooms import modules

CLIENTS = {"transformers", "torch", "boto3", "botocore", "sagemaker", "torch_xla"}
"""What takes seconds to import, and has its own opinion of systems."""


def imports(system: str) -> None:
    """Import every module that has a right to be here."""
    count = 0
    for name, path in modules(system):
        if "_compat" in path.parts or path.stem == "__main__" or {"ranks", "system"} & {*path.parts}:
            continue
        try:
            import_module(name)
            count += 1
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] not in CLIENTS:
                complain(f"import {name}")
        except BaseException:
            complain(f"import {name}")
    print(count)


FAILED: list[str] = []
TAKEN = {
    "darwin": (
        "from os import pidfd_open", "import os; os.memfd_create", "import signal; signal.pidfd_send_signal",
        "import os; os.sched_getaffinity", "open('/proc/self/stat')", "import os; os.stat('/sys/class')",
        "import ctypes; ctypes.CDLL(None).prctl", "from pathlib import Path; Path('/proc/self').stat()",
        "import sys; assert sys.platform == 'linux'", "import select; select.epoll()",
    ),
    "win32": (
        "import os; os.fork", "import fcntl", "import resource", "import pwd", "import grp", "import termios", "import pty",
        "import tty", "import os; os.killpg", "from os import setsid", "from signal import SIGKILL", "from _signal import SIGHUP",
        "import select; select.poll()", "import socket; socket.AF_UNIX", "import os; os.O_CLOEXEC", "import os; os.open('/', 0)",
        "import os; assert os.name == 'posix'", "import os; os.listdir('/proc')", "import os; os.getuid",
        "import os, tempfile; f = tempfile.mkdtemp(); g = tempfile.mkdtemp(); os.rename(f, g)",
    ),
}  # fmt: skip
"""What fails in our modules there, and here nowhere else."""


def harness(system: str) -> None:
    """Check the profile itself."""
    for source in TAKEN[system]:
        try:
            exec(source, {"__name__": "accel_probe"})  # noqa: S102
        except (AttributeError, ImportError, OSError, AssertionError):
            exec(source if "rename" not in source and "open('/'" not in source else "", {"__name__": "elsewhere"})  # noqa: S102
        else:
            complain(f"{source} works")


def commands(folder: Path) -> None:
    """Call what must work everywhere."""
    from accel_cli.table import COMMANDS

    os.chdir(folder)
    Path("x.py").touch()
    Path("config.json").write_text(
        '{"model_type": "gpt2", "n_layer": 2, "n_embd": 8, "n_head": 2, "vocab_size": 100, "n_positions": 16}'
    )
    call("--help", says="commands:")
    for name in COMMANDS:
        call(name, "--help", says=name)
    call("config", "default", "--config_file", "here.yaml", says="here.yaml")
    call("config", "show", "--config_file", "here.yaml", says="num_processes")
    call("config", "validate", "--config_file", "here.yaml", says="")
    call("env", says="CPU cores")
    call("estimate-memory", "config.json", says="float32")
    Path(os.environ["XDG_STATE_HOME"], "accel/runs/one").mkdir(parents=True, mode=0o700)
    from accel_launch.ranks.system import calls

    kept = calls.SUPERVISES
    call("ps", says="" if kept else "no run is kept on Windows", status=0 if kept else 1)
    call("stop", "--warm", says="no process is kept warm")
    for count in (1, 3):
        words = ("--cpu", "--config_file", "here.yaml", "--num_processes", str(count), "--dry_run", "x.py")
        call("launch", *words, says="x.py")
        call("launch", "--json", *words, says='"engine"')
    words = ("--cpu", "--num_processes", "2", "--engine", "torchrun", "--dry_run", "x.py")
    call("launch", *words, says="" if kept else "# note: engine torchrun: Windows has only exec and local")
    call("launch", "--cpu", "--hosts", "a,b", "--dry_run", "x.py", says=calls.refusal(supervised=False))
    words = ("--cpu", "--num_processes", "2", "--preload", "json", "--dry_run", "x.py")
    call(
        "launch", *words, says=calls.FORKING or "preload json (--preload) has no effect: this system can't fork ranks"
    )
    call("launch", *words[:3], "--bind", "cores", "x.py", says="only Linux binds processes to CPUs", status=2)
    words = (
        "--num_machines",
        "2",
        "--machine_rank",
        "1",
        "--main_process_ip",
        "10.1.2.3",
        "--main_process_port",
        "29500",
    )
    call(
        "launch",
        "--cpu",
        "--num_processes",
        "2",
        *words,
        "--dry_run",
        "x.py",
        says="isn't known here: set GLOO_SOCKET",
    )
    call("launch", "--slurm", "--dry_run", "--num_machines", "2", "--cpu", "x.py", says="#SBATCH")
    call(
        "launch",
        "--kubernetes",
        "--dry_run",
        "--job_image",
        "image",
        "--num_machines",
        "2",
        "--cpu",
        "x.py",
        says="kind:",
    )


def call(*words: str, says: str, status: int = 0) -> str:
    """Call a command; complain unless it has that status and prints that."""
    from accel_cli.main import main

    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    found: object = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            found = main(list(words))
        except SystemExit as end:
            found = end.code or 0
        except BaseException:
            traceback.print_exc(file=out)
    printed = out.buffer.getvalue().decode()  # pyright: ignore[reportAttributeAccessIssue]
    if found != status or says not in printed:
        complain(f"accelerate {' '.join(words)}: status {found}\n{printed}")
    return printed


def complain(what: str) -> None:
    """Print what failed, and why."""
    FAILED.append(what)
    print(f"FAILED {what}\n{traceback.format_exc() if sys.exc_info()[0] else ''}")


def main() -> int:
    """Check everything as on the system of the command line, or on this one; return the exit status."""
    system, folder, *_more = [*sys.argv[1:], sys.platform, tempfile.mkdtemp()]
    sys.modules.update(dict.fromkeys(CLIENTS))  # pyright: ignore[reportArgumentType, reportCallIssue]
    if os.environ.get("TESTS_PLATFORM"):
        harness(system)
    imports(system)
    commands(Path(folder))
    return bool(FAILED)


if __name__ == "__main__":
    sys.exit(main())
