"""Tools in front of ranks (``--wrap``) and variables of some ranks (``--rank_env``), with real tools and real ranks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from accel_config import AccelError
from accel_config.checking import ranks
from accel_launch import Plan, plan
from accel_launch.engines.common.wrapping import PARENT
from accel_launch.engines.deepspeed import over_pdsh
from accel_launch.machine.host import Host
from accel_launch.ranks import tool
from tests.conftest import BIN, Resolve, Run
from tests.environments import environment
from tests.launch.hosts import Packages, Programs, Still, host
from tests.launch.processes import TURNS, Script, Start, alive, gone, marked, read_pids, until
from tests.schedule import sampled

BETWEEN = ("sh", "-c", tool.BETWEEN, "sh")
TWO_TOOLS = ("--wrap", "last: env 'A=b $c' %r.%l.%h.%n.%%", "--wrap", "1-2,0:nice", "--rank_env", "0,2 :X=%n=%r:1 ")
# A tool that keeps its rank's status to itself, has something to do afterwards, and would die of a signal.
KEEPING = """\
#!{python}
import os, subprocess, sys, time
subprocess.run(sys.argv[2:])
time.sleep(float(os.environ.get("LATE", "0")))
open(sys.argv[1], "w").write("written")
sys.exit(int(os.environ.get("OWN", "0")))
"""


@pytest.fixture
def keeping(tmp_path: Path) -> str:
    path = tmp_path / "keeping"
    path.write_text(KEEPING.format(python=sys.executable))
    path.chmod(0o755)
    return str(path)


def planned(settings: Resolve, here: Path, *flags: str, on: Host | None = None) -> Plan:
    on = on or host()
    return plan(settings("--cpu", *flags), on.replace(cwd=str(here), name="node"), ["train.py"])


def test_each_rank_has_its_own_in_front(settings: Resolve, here: Path) -> None:
    made = planned(settings, here, "--num_processes", "3", "--name", "otter", *TWO_TOOLS)
    script = ("/py", "-u", "train.py")
    env = ("env", "A=b $c", "2.2.node.otter.%")
    assert [command.argv for command in made.commands] == [
        *2 * [("nice", *BETWEEN, *script)],
        (*env, "nice", *BETWEEN, *script),
    ]
    assert [command.env.get("X") for command in made.commands] == ["otter=0:1 ", None, "otter=2:1 "]
    assert not made.notes
    plain, tooled = (planned(settings, here, "--wrap", wrap) for wrap in ("0:env", "env"))
    assert tooled.supervised
    assert tooled.commands[0].argv == plain.commands[0].argv == ("env", *BETWEEN, "/py", "train.py")
    assert not planned(settings, here, "--rank_env", "last:X=1").supervised


def test_other_agents_start_what_chooses_by_rank(settings: Resolve, here: Path) -> None:
    """Engines whose ranks another agent starts; the words survive the agent's own quoting."""
    chosen = (
        *("--wrap", "last", "3", "env", "A=b $c", "%r.%l.%h.train.%%"),
        *("--wrap", "1-2,0", "1", "nice", "--env", "0,2", "X=train=%r:1 ", "/py", "-u", "train.py"),
    )
    flags = ("--num_processes", "4", *TWO_TOOLS)
    on = host(probe=Still(packages=Packages(("torch", "deepspeed"), versions={"deepspeed": "0.19.8"})))
    words = planned(settings, here, "--engine", "torchrun", *flags, on=on).commands[0].argv
    assert words[words.index(PARENT) + 1 :] == tuple(word.replace("$", "$$") for word in chosen)
    mpirun = host(probe=Still(programs=Programs(("mpirun",), version="mpirun (Open MPI) 5.0.11")))
    srun = host(probe=Still(programs=("srun",)), environ={"SLURM_JOB_ID": "4711", "SLURM_JOB_NODELIST": "a"})
    for engine, machine in (("mpi", mpirun), ("slurm", srun)):
        words = planned(settings, here, "--engine", engine, *flags, on=machine).commands[0].argv
        assert words[words.index(PARENT) + 1 :] == chosen, engine
    many = ("--use_deepspeed", "--engine", "deepspeed", "--deepspeed_hostfile", "hosts", "--num_machines", "2")
    words = planned(settings, here, *many, *flags, on=on).commands[0].argv
    assert words[words.index(PARENT) + 1 :] == tuple(map(over_pdsh, chosen))
    many = (*many, "--deepspeed_multinode_launcher", "slurm", "--main_process_ip", "10.0.0.1")
    words = planned(settings, here, *many, *flags, on=on).commands[0].argv
    assert words[words.index("sh") :][-len(chosen) - 1 :] == (PARENT, *chosen)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--wrap", "4:nice"), "--wrap: wrap 4: the run has no rank 4; its ranks are 0-3"),
        (("--wrap", "2-9:nice"), "no rank 9"),
        (("--rank_env", "7:A=1"), "--rank_env: rank_env 7: the run has no rank 7"),
        (("--wrap", '0: nsys -o "my out'), "the quote in 'my out' has no end"),
        (("--wrap", "0:perf -o %p"), "'%p' isn't one of %r, %l, %h, %n and %%; write %% for a percent sign"),
        (("--wrap", "0:perf %"), "'%' isn't one"),
        (("--wrap", "3-1:nice"), "'3-1' isn't a list of ranks, such as 0, 1-3, 0,4 or last"),
        (("--wrap", "first: nice"), "'first' isn't a list of ranks"),
        (("--wrap", "0;1: nice"), "'0;1' isn't a list of ranks"),
        (("--wrap", "0: "), "there is no command"),
        (("--wrap", "0: ''"), "there is no command"),
        (("--wrap", "0: nice\\"), "the backslash at the end has no letter after it"),
        (("--wrap", "0 1: nice"), "'0 1' isn't a list of ranks"),
        (("--rank_env", "0:A"), "a variable is NAME=VALUE"),
        (("--rank_env", "0:RANK=1"), "rank_env '0:RANK=***': the launcher itself sets RANK"),
        (("--wrap", "nice", "--preload", "json"), "wrap nice (--wrap) and preload json (--preload): ranks that are"),
    ],
)
def test_what_cannot_be_is_refused(settings: Resolve, here: Path, flags: tuple[str, ...], message: str) -> None:
    with pytest.raises(AccelError) as refused:
        planned(settings, here, "--num_processes", "4", *flags)
    assert message in str(refused.value)


def test_words_are_those_of_a_shell() -> None:
    command = r"""a\ b  "\$c \"d\" \\ \` \e" 'f\ "g' ''h"i 'j'"k '' \'l \
"m\
n" """
    done = subprocess.run(["sh", "-c", f"printf '%s|' {command}"], capture_output=True, text=True, check=True)
    assert done.stdout == "".join(f"{word}|" for word in ranks.words(command))


def test_where_a_colon_belongs_to_the_command_it_is_for_all_ranks(settings: Resolve, here: Path) -> None:
    environ = {"ACCELERATE_LAUNCH_WRAP": "0,1: env A=1,2\nenv P=/a:/b"}  # items end with their line
    made = plan(
        settings("--cpu", "--num_processes", "2", environ=environ), host().replace(cwd=str(here)), ["train.py"]
    )
    assert {command.argv[:4] for command in made.commands} == {("env", "A=1,2", "env", "P=/a:/b")}
    file = "wrap:\n- 'env P=/a:/b'\nrank_env: 'P=c:d'\n"
    made = plan(settings("--cpu", file=file), host().replace(cwd=str(here)), ["train.py"])
    assert (made.commands[0].argv[:2], made.commands[0].env["P"]) == (("env", "P=/a:/b"), "c:d")


FAILING = (
    TURNS + "here('rank' + os.environ['RANK'])\n"
    "if os.environ['RANK'] == '1':\n"
    "    raise ValueError('boom')\n"
    "time.sleep(1000)\n"
)
# An engine that starts its ranks itself, and knows nothing of tools.
ENGINE = """\
import shlex
from accel_launch import engines
from accel_launch.engines import Command, Engine, Plan

def make(context):
    words = shlex.join(engines.with_parent(context, engines.rank_command(context)))
    ranks = (f"(RANK={rank} LOCAL_RANK={rank} WORLD_SIZE=2 {words} || kill $$) &" for rank in (0, 1))
    return Plan("others", (Command(("sh", "-c", f"{' '.join(ranks)} wait"), context.variables),), hosted=2)

ENGINE = Engine(make, honors=engines.RANKS)
"""


def on_the_path(folder: Path, environ: dict[str, str]) -> str:
    """A PYTHONPATH with a folder first."""
    return os.pathsep.join(filter(None, (str(folder), environ.get("PYTHONPATH"))))


@pytest.fixture(params=["local", "others"])
def engine(request: pytest.FixtureRequest, environ: dict[str, str], tmp_path: Path) -> str:
    """Each way to stand above a tool: the guardian, and a rank's parent under another engine."""
    info = tmp_path / "site" / "accel_others-1.dist-info"
    info.mkdir(parents=True)
    (tmp_path / "site" / "accel_others.py").write_text(ENGINE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: accel-others\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[accel_launch.engines]\nothers = accel_others:ENGINE\n")
    environ["PYTHONPATH"] = on_the_path(tmp_path / "site", environ)
    if request.param == "torchrun":
        pytest.importorskip("torch")
    elif request.param == "mpi":
        environ["PATH"] = f"{environment('openmpi')}:{environ['PATH']}"
    return request.param


EVERY_AGENT = ["local", "others", *(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("torchrun", "mpi"))]


@pytest.mark.parametrize("engine", EVERY_AGENT, indirect=True)
@pytest.mark.skipif(tuple(map(int, os.uname().release.split(".")[:2])) < (6, 15), reason="Linux keeps no status")
def test_a_failed_rank_is_the_runs_failure_whatever_its_tool_says(
    accelerate: Run, script: Script, tmp_path: Path, engine: str, keeping: str, mark: str
) -> None:
    path = script(FAILING)
    flags = ("--num_processes", "2", "--engine", engine, "--report", "report.json", "--wrap", "nice")
    done = accelerate(
        *("launch", "--cpu", *flags, "--wrap", f"1: {keeping} %r.out", str(path)), env={"LATE": "0.5"}, cwd=tmp_path
    )
    report = json.loads((tmp_path / "report.json").read_text())
    assert (done.returncode, report["status"]) == (1, 1), done.stderr
    assert report["failure"]["rank"] == 1
    assert report["failure"]["exception"] == "ValueError: boom"
    assert report["failure"]["pid"] == int(str((tmp_path / "rank1").readlink()))
    assert f"at: {path}:" in done.stderr
    assert (tmp_path / "1.out").read_text() == "written"  # the tool had its time
    assert not marked(mark)


@pytest.mark.exhaustive
def test_where_descriptors_run_out_a_run_without_all_its_ranks_is_no_success(
    environ: dict[str, str], tmp_path: Path, mark: str
) -> None:
    code = """\
import resource, sys
from accel_launch import Command, Plan
from accel_launch.ranks import tool
from accel_launch.running import report, supervisor
import ctypes, fcntl, termios
rank = ("env", "sh", "-c", tool.BETWEEN, "sh", "true")
plan = Plan("local", tuple(Command(rank, {}, rank=r, local_rank=r, tooled=True) for r in range(2)), grace=1)
resource.setrlimit(resource.RLIMIT_NOFILE, 2 * (int(sys.argv[1]),))
result = supervisor.supervise(plan)
print(result.status, len(result.endings), result.problems)
"""
    environ["TMPDIR"] = str(tmp_path)
    short = 0
    for limit in range(16, 40):
        words = [sys.executable, "-c", code, str(limit)]
        done = subprocess.run(words, env=environ, capture_output=True, text=True, timeout=60)
        status, _, rest = done.stdout.partition(" ")
        assert status != "0" or rest == "2 ()\n", (limit, done)
        short += "couldn't be started: the system" in rest
        assert not marked(mark)
        assert not list(tmp_path.glob("accel-*"))
    assert short  # between nothing at all and everything


def test_where_only_the_tool_knows_how_the_rank_ended_a_note_says_so(
    accelerate: Run, script: Script, environ: dict[str, str], tmp_path: Path, keeping: str
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "from accel_launch.ranks import tool\ntool.Below.status = lambda self: None\n"
    )
    flags = (
        "--cpu",
        "--num_processes",
        "2",
        "--wrap",
        f"1: {keeping} out",
        str(script("import os\nos._exit(7 * (os.environ['RANK'] == '1'))\n")),
    )
    done = accelerate("launch", *flags, env={"PYTHONPATH": on_the_path(tmp_path, environ)})
    assert done.returncode == 0
    assert "note: rank 1: only the command of --wrap knows how it ended" in done.stderr


HEARING = (
    TURNS + "import signal, sys\n"
    "heard = []\n"
    "for number in (signal.SIGUSR1, signal.SIGTERM):\n"
    "    signal.signal(number, lambda number, frame: heard.append(number))\n"
    "def listen():\n"
    "    print(os.getpid(), flush=True)\n"
    "    while signal.SIGTERM not in heard:\n"
    "        time.sleep(0.01)\n"
    "listen()\n"
    "time.sleep(0.2)\n"
    "print([int(number) for number in heard])\n"
)


def test_signals_and_looks_reach_the_rank_and_its_tool_ends_after_it(
    accelerate: Run, launched: Start, script: Script, tmp_path: Path, engine: str, keeping: str
) -> None:
    path = script(HEARING)
    flags = ("--num_processes", "2", "--engine", engine, "--name", f"wrapped-{engine}", "--wrap")
    popen = launched("-q", "--cpu", *flags, f"{keeping} {tmp_path}/%n.%r", path)
    ranks = read_pids(popen, 2)
    seen = json.loads(accelerate("stacks", f"wrapped-{engine}", "--json").stdout)
    assert sorted(rank["pid"] for rank in seen["ranks"]) == sorted(ranks)
    doing = {group["doing"].partition(" ")[2] for group in seen["groups"]}
    assert doing <= {"listen", "listen > sleep", "listen, running"}
    popen.send_signal(signal.SIGTSTP)
    above = ranks if engine == "local" else [psutil.Process(pid).parents()[1].pid for pid in ranks]
    stopping = [psutil.Process(pid) for pid in {popen.pid, *ranks, *above}]
    assert until(lambda: {process.status() for process in stopping} == {psutil.STATUS_STOPPED}, 30)
    for number in (signal.SIGCONT, signal.SIGUSR1, signal.SIGTERM):
        popen.send_signal(number)
    out, err = popen.communicate(timeout=60)
    assert (popen.returncode, out.splitlines()) == (-signal.SIGTERM, 2 * [f"[{int(signal.SIGUSR1)}, 15]"]), err
    assert [(tmp_path / f"wrapped-{engine}.{rank}").read_text() for rank in (0, 1)] == 2 * ["written"]


@pytest.mark.parametrize(
    ("wrap", "environ_of_the_tool", "status"),
    sampled(
        [
            ("setsid env -i RANK=1", {}, 7),  # tools that leave at once, and that clear the environment
            ("{keeping} out", {"OWN": "5"}, 5),  # the tool's own failure
            ("nowhere-to-be-found", {}, 127),
            ("{keeping} out true", {}, 1),  # tools that never start the rank
            ("sh -c 'exit 3'", {}, 3),
        ],
        every=2,
    ),
)
def test_what_a_tool_does_of_its_own(
    accelerate: Run,
    script: Script,
    tmp_path: Path,
    engine: str,
    keeping: str,
    wrap: str,
    environ_of_the_tool: dict[str, str],
    status: int,
) -> None:
    path = script(f"import os, sys\nsys.exit({status if 'setsid' in wrap else 0} * (os.environ['RANK'] == '1'))\n")
    flags = ("--cpu", "--num_processes", "2", "--engine", engine, "--wrap", f"1:{wrap.format(keeping=keeping)}")
    done = accelerate("launch", *flags, str(path), env={**environ_of_the_tool, "TMPDIR": str(tmp_path)})
    assert done.returncode == status, done.stderr
    assert ("rank 1 (local rank 1" in done.stderr) == bool(status)
    if engine == "local":
        assert ("rank 1 ended well; the command of --wrap before it failed" in done.stderr) == (status == 5)
        assert ("the command of --wrap before rank 1 failed before the rank began" in done.stderr) == (status == 3)
    assert (f"rank 1 couldn't be started: {tool.UNSEEN}\n" in done.stderr) == (status == 1)
    assert not list(tmp_path.glob("accel-*"))  # the pipes between the tool and us


@pytest.mark.parametrize("who", sampled(["tool", "launcher", "guardian"], every=3))
def test_whoever_is_killed_with_tools_nothing_is_left(
    launched: Start, script: Script, tmp_path: Path, engine: str, keeping: str, who: str
) -> None:
    popen = launched("--cpu", "--num_processes", "2", "--engine", engine, "--wrap", f"{keeping} out", script(HEARING))
    ranks = read_pids(popen, 2)
    tools = [int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) for pid in ranks]
    guardian = Path(f"/proc/{popen.pid}/task/{popen.pid}/children").read_text().split()[0]
    os.kill({"launcher": popen.pid, "guardian": int(guardian), "tool": tools[0]}[who], signal.SIGKILL)
    assert popen.wait(60) == (-signal.SIGKILL if who == "launcher" else 137), who
    assert gone([*ranks, *tools], 30), alive([*ranks, *tools])


WORKING = (
    "import os, time\ndef work():\n    end = time.time() + 0.5\n    while time.time() < end: pass\n"
    "work()\nos._exit(7)\n"
)
REAL = (
    ("py-spy record -o found.%r --", "found.0", "work"),
    ("strace -f -o found.%r", "found.0", "+++ exited with 7 +++"),
    ("perf stat -o found.%r", "found.0", "task-clock"),
    ("valgrind --trace-children=yes --log-file=found.%r", "found.0", "Memcheck"),
    ("taskset -c 0", "", ""),
    ("timeout 60", "", ""),
)


@pytest.mark.parametrize(("wrap", "file", "part"), sampled(REAL, every=len(REAL)))
def test_real_tools_show_the_rank_and_its_end(
    accelerate: Run, script: Script, tmp_path: Path, environ: dict[str, str], wrap: str, file: str, part: str
) -> None:
    environ["PATH"] = f"{BIN}:{environ['PATH']}"
    program = wrap.partition(" ")[0]
    if shutil.which(program, path=environ["PATH"]) is None:
        pytest.skip(f"{program} isn't installed")
    path = script(WORKING)
    done = accelerate("launch", "--cpu", "--wrap", f"0:{wrap}", str(path), timeout=150)
    assert done.returncode == 7, done.stderr
    assert part in ((tmp_path / file).read_text() if file else "")


UNDER_GDB = """\
import ctypes, os, signal, threading
got = []
numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGTERM, signal.SIGCONT, signal.SIGWINCH)
for number in numbers:
    signal.signal(number, lambda number, frame: got.append(number))
    os.kill(os.getpid(), number)
assert got == list(numbers), got
if os.environ.get("CRASH") == os.environ["RANK"]:
    ctypes.string_at(0)
"""


@pytest.mark.exhaustive
def test_gdb_as_the_page_has_it_shows_a_crash_and_changes_nothing_else(
    accelerate: Run, script: Script, tmp_path: Path, engine: str
) -> None:
    if shutil.which("gdb") is None:
        pytest.skip("gdb isn't installed")
    page = (Path(__file__).parents[2] / "docs" / "tools.md").read_text()
    (tmp_path / "crash.gdb").write_text(page.partition("title=crash.gdb\n")[2].partition("```")[0])
    command = page.partition("--wrap '0: gdb")[2].partition("'")[0]
    flags = (
        "--cpu",
        "--num_processes",
        "2",
        "--engine",
        engine,
        "--wrap",
        f"0: gdb{command}",
        str(script(UNDER_GDB)),
    )
    done = accelerate("launch", *flags, env={"CRASH": "0"}, cwd=tmp_path, timeout=150)
    assert (done.returncode, "terminated by SIGSEGV: a crash in native code" in done.stderr) == (139, True), (
        done.stderr
    )
    assert "PyEval_EvalCode" in done.stdout
    done = accelerate("launch", *flags, cwd=tmp_path, timeout=150)
    assert (done.returncode, done.stderr.count("failed")) == (0, 0), done.stderr
