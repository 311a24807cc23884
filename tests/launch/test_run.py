"""Real launches: one process, several ranks, their output, their failures, and the signals between."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import BIN, ROOT, Run
from tests.launch.processes import PAUSE, Script, Start, gone, guardian_of, read_pids

LAUNCH = ("launch", "--cpu")


def test_arguments_reach_the_script_byte_for_byte(accelerate: Run, script: Script) -> None:
    path = script("import sys, json; print(json.dumps(sys.argv[1:]))")
    words = ["--cpu", "--", "-x", "a b", "", "--num_processes", "ü", "'\"$HOME"]
    done = accelerate("launch", path, *words)
    assert json.loads(done.stdout) == words
    assert done.returncode == 0


@pytest.mark.parametrize("processes", ["1", "2"])
def test_the_users_variables_reach_the_script(accelerate: Run, script: Script, processes: str) -> None:
    path = script("import os; print(os.environ.get('MINE'))")
    done = accelerate(*LAUNCH, "--num_processes", processes, path, env={"MINE": "yes"})
    assert done.stdout.split() == ["yes"] * int(processes)


def test_one_process_is_the_launcher_itself(script: Script, environ: dict[str, str]) -> None:
    path = script("import os; print(os.getpid(), os.environ.get('RANK'))")
    with subprocess.Popen(
        [BIN / "accelerate", *LAUNCH, path], stdout=subprocess.PIPE, text=True, env=environ
    ) as running:
        out, _err = running.communicate(timeout=30)
    assert out.split() == [str(running.pid), "None"]


def test_modules_and_programs(accelerate: Run, tmp_path: Path) -> None:
    (tmp_path / "pack").mkdir()
    (tmp_path / "pack" / "__init__.py").touch()
    (tmp_path / "pack" / "tool.py").write_text("import sys; print(__name__, __package__, sys.argv[1:])")
    assert accelerate(*LAUNCH, "-m", "pack.tool", "-m").stdout.split() == ["__main__", "pack", "['-m']"]
    program = tmp_path / "tool.sh"
    program.write_text('#!/bin/sh\necho "$RANK of $WORLD_SIZE: $1"\n')
    program.chmod(0o755)
    done = accelerate(*LAUNCH, "--num_processes", "2", "--no_python", "./tool.sh", "x y")
    assert sorted(done.stdout.splitlines()) == ["0 of 2: x y", "1 of 2: x y"]


def test_ranks_meet_over_gloo(accelerate: Run, script: Script) -> None:
    pytest.importorskip("torch")
    path = script(
        "import torch, torch.distributed as dist\n"
        "dist.init_process_group('gloo')\n"
        "mine = torch.tensor(float(dist.get_rank() + 1))\n"
        "dist.all_reduce(mine)\n"
        "print(f'{dist.get_world_size()} ranks sum to {mine.item()}\\n', end='')\n"
        "dist.destroy_process_group()\n"
    )
    done = accelerate(*LAUNCH, "--num_processes", "2", path, timeout=120)
    assert done.stdout.splitlines() == ["2 ranks sum to 3.0"] * 2, done.stderr
    assert done.returncode == 0


@pytest.mark.exhaustive  # by default the README's commands run it
def test_the_example_learns(accelerate: Run) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("torch")
    started = time.monotonic()
    done = accelerate(
        *LAUNCH, "--num_processes", "2", ROOT / "examples/train_digits.py", "--epochs", "20", timeout=120
    )
    assert done.returncode == 0, done.stderr
    line = done.stdout.splitlines()[-1]
    assert line.startswith("accuracy ")
    assert float(line.split()[1]) > 0.95, line
    assert "2 ranks" in line
    assert time.monotonic() - started < 60


FAILING = """
import os, sys, time
rank = int(os.environ["RANK"])
if rank == 1:
    time.sleep(0.2)
    {fail}
time.sleep(60)
"""


@pytest.mark.parametrize(
    ("fail", "status", "cause"),
    [
        ("sys.exit(7)", 7, "exit status 7"),
        ("os._exit(255)", 255, "exit status 255"),
        ("raise ValueError('boom')", 1, "ValueError: boom"),
        ("os.kill(os.getpid(), 9)", 137, "terminated by SIGKILL: sent by another process"),
        ("os.kill(os.getpid(), 11)", 139, "terminated by SIGSEGV"),
        ("os.kill(os.getpid(), 15)", 143, "terminated by SIGTERM"),
    ],
)
def test_the_failing_ranks_status_is_ours(
    accelerate: Run, script: Script, fail: str, status: int, cause: str
) -> None:
    started = time.monotonic()
    done = accelerate(*LAUNCH, "--num_processes", "3", script(FAILING.format(fail=fail)))
    assert done.returncode == status
    assert "rank 1 (local rank 1, pid " in done.stderr
    assert cause in done.stderr
    assert time.monotonic() - started < 10


def test_the_report_names_the_line_and_comes_last(accelerate: Run, script: Script, tmp_path: Path) -> None:
    path = script(FAILING.format(fail="raise ValueError('boom')"))
    done = accelerate(*LAUNCH, "--num_processes", "2", "--log_dir", "logs", path)
    own, head, report = done.stderr.partition("accel: rank 1")
    assert "Traceback (most recent call last)" in own
    lines = [
        rf"accel: rank 1 \(local rank 1, pid \d+, host {os.uname().nodename}\) failed first",
        "  cause: exit status 1",
        "  exception: ValueError: boom",
        f"  at: {path}:6",
        r"  time: \d{4}-\d\d-\d\d \d\d:\d\d:\d\d",
        rf"  log: {tmp_path}/logs/[-\d_]+_{path.stem}/attempt_0/1",
        "  terminated as a result: rank 0",
    ]
    assert re.fullmatch("\n".join(lines) + "\n", head + report), done.stderr
    assert done.stderr.count("Traceback") == 1


def test_debug_adds_the_traceback_to_the_report(accelerate: Run, script: Script) -> None:
    path = script(FAILING.format(fail="raise ValueError('boom')"))
    done = accelerate(*LAUNCH, "--num_processes", "2", "--debug", path)
    assert done.stderr.endswith("ValueError: boom\n")
    assert done.stderr.count("Traceback") == 2


def test_a_report_that_cannot_be_written_changes_no_status(accelerate: Run, script: Script, tmp_path: Path) -> None:
    """Its folder vanishes during the run."""
    folder = tmp_path / "reports"
    folder.mkdir()
    failing = script(
        f"import os, time\ntime.sleep(0.5)\nif os.path.exists({str(folder)!r}): os.rmdir({str(folder)!r})\nos._exit(7)"
    )
    done = accelerate(*LAUNCH, "--report", str(folder / "report.json"), failing)
    assert done.returncode == 7
    assert done.stderr.endswith(
        f"accel: the report wasn't saved: {folder}/report.json can't be written: No such file or directory\n"
    )


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("missing/report.json", "the folder {tmp}/missing doesn't exist"),
        (".", "it isn't a file, so it can't be replaced"),
        pytest.param(
            "closed/report.json",
            "the folder {tmp}/closed isn't writable",
            marks=pytest.mark.skipif(os.geteuid() == 0, reason="root can write everywhere"),
        ),
        ("file/report.json", "the folder {tmp}/file doesn't exist"),
    ],
)
def test_a_report_that_cannot_be_written_is_found_out_before_anything_starts(
    accelerate: Run, script: Script, tmp_path: Path, path: str, why: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "closed").mkdir(mode=0o500)
    words = ("--report", path, script(f"open({str(tmp_path / 'ran')!r}, 'w')"))
    for processes in ("1", "2"):
        done = accelerate("launch", "--cpu", "--num_processes", processes, *words)
        assert (done.returncode, done.stderr) == (
            2,
            f"accelerate launch: report {path} (--report): {why.format(tmp=tmp_path)}\n",
        )
    assert not (tmp_path / "ran").exists()
    assert why.format(tmp=tmp_path) in accelerate("launch", "--dry_run", *words).stdout


def test_a_report_may_be_in_the_folder_of_the_logs(accelerate: Run, script: Script, tmp_path: Path) -> None:
    done = accelerate("launch", "--cpu", "--log_dir", "new/logs", "--report", "new/report.json", script(""))
    assert done.returncode == 0
    assert (tmp_path / "new" / "report.json").exists()


@pytest.mark.parametrize("stream", [1, 2])
def test_the_report_begins_on_a_line_of_its_own(
    script: Script, environ: dict[str, str], tmp_path: Path, stream: int
) -> None:
    """Also in a pipe, where a rank has left a line without an end."""
    path = script(f"import os, sys\nos.write({stream}, b'no newline')\nsys.exit(3)")
    words = [BIN / "accelerate", "launch", "-q", "--cpu", "--num_processes", "2", path]
    done = subprocess.run(
        words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False
    )
    assert done.returncode == 3
    assert re.search(r"^accel: rank \d .*failed first$", done.stdout, re.MULTILINE)
    well = script(f"import os\nos.write({stream}, b'no newline' * (os.environ['RANK'] == '1'))")
    done = subprocess.run([*words[:-1], well], env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout + done.stderr == "no newline"  # nothing follows


def test_the_summary_is_one_line_and_quiet_hides_it(accelerate: Run, script: Script) -> None:
    words = (*LAUNCH, "--num_processes", "2", script(""))
    assert accelerate(*words).stderr == "accel: 2 processes on CPU, MULTI_CPU, precision no, engine local\n"
    assert "--quiet stands after the script" in accelerate(*words, "--quiet").stderr  # and is the script's
    assert not accelerate("launch", "--quiet", *words[1:]).stderr


@pytest.mark.parametrize(
    "flags", ["", "--report r.json", "--prefix", "--log_dir l", "--filter_ranks 0", "--tee 3", "--stall_after 60"]
)
def test_one_process_is_supervised_where_a_flag_asks_for_it(accelerate: Run, script: Script, flags: str) -> None:
    done = accelerate(*LAUNCH, *flags.split(), script("import sys; sys.exit(3)"))
    assert done.returncode == 3
    assert ("failed first" in done.stderr) == bool(flags)


SAVING = """\
import os, signal, sys, time
stop = []
for number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, lambda *_: stop.append(1))
os.write(1, b"%d\\n" % os.getpid())
while not stop:
    time.sleep(0.01)
sys.exit(3)
"""


@pytest.mark.parametrize(
    ("number", "processes", "status", "said"),
    [
        (signal.SIGUSR1, 1, 3, ""),
        (signal.SIGTERM, 1, 3, ""),
        (signal.SIGUSR1, 2, 3, "failed first"),
        (signal.SIGTERM, 2, -signal.SIGTERM, "accel: terminated by SIGTERM; ranks 0-1 ended in"),
    ],
)
def test_saving_before_the_end(
    script: Script, environ: dict[str, str], number: int, processes: int, status: int, said: str
) -> None:
    """What the recipe of jobs that are preempted says."""
    words = [BIN / "accelerate", "launch", "--cpu", "--num_processes", str(processes), script(SAVING)]
    with subprocess.Popen(words, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        read_pids(running, processes)
        running.send_signal(number)
        _out, err = running.communicate(timeout=30)
    assert running.returncode == status
    assert said in err
    assert ("failed first" in err) == (said == "failed first")


SLEEPING = "import os, time\nos.write(1, b'%d\\n' % os.getpid())\n" + PAUSE


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_ends_all_and_is_our_death(launched: Start, script: Script, number: int) -> None:
    running = launched("--cpu", "--num_processes", "2", script(SLEEPING))
    ranks = read_pids(running, 2)
    running.send_signal(number)
    assert running.wait(10) == -number
    assert gone(ranks)


def test_a_signalled_run_is_128_and_n_even_if_ranks_end_well(launched: Start, script: Script) -> None:
    path = script(
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        "os.write(1, b'%d\\n' % os.getpid())\n" + PAUSE
    )
    running = launched("--cpu", "--num_processes", "2", path)
    read_pids(running, 2)
    running.terminate()
    assert running.wait(10) == -signal.SIGTERM


STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
os.write(1, b'%d\\n' % os.getpid())
print(child.pid, flush=True)
time.sleep(60)
"""


def test_grace_then_kill_reaches_children_that_left_the_session(launched: Start, script: Script) -> None:
    running = launched("--cpu", "--num_processes", "2", "--grace", "0.5", script(STUBBORN))
    everything = read_pids(running, 4)
    running.terminate()
    assert running.wait(10) == -signal.SIGTERM
    assert gone(everything)


def test_a_second_signal_ends_it_at_once(launched: Start, script: Script) -> None:
    running = launched("--cpu", "--num_processes", "2", "--grace", "60", script(STUBBORN))
    everything = read_pids(running, 4)
    running.send_signal(signal.SIGINT)
    assert running.stderr is not None
    said = next(line for line in running.stderr if "waiting" in line)
    assert re.fullmatch(r"accel: waiting for ranks 0-1 to end; killed in 5\d s, or now by another Ctrl-C\n", said), (
        said
    )
    assert running.poll() is None
    running.send_signal(signal.SIGTERM)
    assert running.wait(10) == -signal.SIGINT  # the first is the one that ended it
    assert gone(everything)


@pytest.mark.parametrize("victim", ["launcher", "guardian"])
def test_killing_any_one_process_of_the_launcher_leaves_nothing(launched: Start, script: Script, victim: str) -> None:
    running = launched("--cpu", "--num_processes", "2", script(STUBBORN))
    everything = read_pids(running, 4)
    guardian = guardian_of(running.pid)
    os.kill(guardian.pid if victim == "guardian" else running.pid, signal.SIGKILL)
    status = running.wait(10)
    assert gone([*everything, guardian.pid])
    assert status == (137 if victim == "guardian" else -signal.SIGKILL)


def test_usage_errors_start_nothing(accelerate: Run) -> None:
    for words in (
        ["launch"],
        ["launch", "--nope", "x.py"],
        ["launch", "nope.py"],
        ["launch", "--num_processes", "0", "x"],
    ):
        done = accelerate(*words)
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.startswith("accelerate launch: ")
        assert "Traceback" not in done.stderr


def test_a_working_folder_that_is_gone(environ: dict[str, str], script: Script, tmp_path: Path) -> None:
    (tmp_path / "gone").mkdir()
    code = f"cd gone; rmdir ../gone; exec {BIN / 'accelerate'} launch --cpu {script('')}"
    done = subprocess.run(["sh", "-c", code], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert done.stderr == "accelerate launch: the working folder doesn't exist any more: change to one that does\n"


def test_a_dry_run_pastes(accelerate: Run, script: Script) -> None:
    path = script(
        "import os, sys\n"
        "print(f\"{os.environ['RANK']} {os.environ['ACCELERATE_USE_CPU']} {sys.argv[1:]}\\n\", end='')\n"
    )
    done = accelerate(*LAUNCH, "--num_processes", "2", "--dry_run", path, "a b", "it's")
    assert done.returncode == 0
    pasted = subprocess.run(["sh"], input=done.stdout, capture_output=True, text=True, timeout=30, check=True)
    assert sorted(pasted.stdout.splitlines()) == [f"{rank} True ['a b', \"it's\"]" for rank in (0, 1)]


@pytest.mark.exhaustive
def test_launches_at_once_never_share_a_port() -> None:
    """The short form of benchmarks/ports.py."""
    done = subprocess.run(
        [sys.executable, ROOT / "benchmarks/ports.py", "--at-once", "16", "--rounds", "2"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.startswith("32 of 32 launches met"), done.stdout + done.stderr


def test_each_rank_of_slices_sees_one_and_calls_it_0(accelerate: Run, here: Path) -> None:
    names = ("RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "CUDA_VISIBLE_DEVICES")
    (here / "train.py").write_text(f"import os\nprint(*map(os.environ.get, {names}))\n")
    flags = ("--num_devices", "2", "--gpu_ids", "MIG-a,MIG-b", "--rank_env", "1:CUDA_VISIBLE_DEVICES=")
    done = accelerate("launch", "-q", *flags[:4], here / "train.py")
    assert sorted(done.stdout.splitlines()) == ["0 0 2 MIG-a", "1 0 2 MIG-b"], done.stderr
    done = accelerate("launch", "-q", *flags[:4], "--num_processes", "1", here / "train.py")
    assert done.stdout == "None None None MIG-a\n"
    shown = accelerate("launch", "--dry_run", *flags, here / "train.py").stdout
    assert "# rank 1 on GPU MIG-b\n" in shown
    assert "\nexport LOCAL_RANK=0\n" in shown
    assert "\nCUDA_VISIBLE_DEVICES=MIG-a RANK=0 ROLE_RANK=0 " in shown
    assert "\nCUDA_VISIBLE_DEVICES='' RANK=1 ROLE_RANK=1 " in shown  # a variable of the rank's own wins
