"""Ranks that are forked from one import: they can't tell, they end as they always do, and what isn't safe is refused."""

from __future__ import annotations

import json
import mmap
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from accel_launch import plan
from accel_launch.ranks.system import calls
from accel_launch.running.guardian.forwarding import Forwarder
from accel_launch.running.guardian.preloading.fork_server import ForkServer
from accel_launch.running.guardian.workload import Spawn
from tests.conftest import BIN, ROOT, Resolve, Run
from tests.environments import environment
from tests.launch.hosts import Programs, Still, host
from tests.launch.processes import Script, Start, alive, gone, read_pids, until
from tests.schedule import sampled

PORTRAIT = Path(__file__).parent / "portrait.py"
TWO = ("--cpu", "--num_processes", "2")
Portrait = tuple[dict[str, Any], list[object]]


# The rank can't tell.


def as_script(folder: Path) -> list[str]:
    shutil.copy(PORTRAIT, folder / "portrait.py")
    return ["portrait.py", "a b", "-x"]


def as_link(folder: Path) -> list[str]:
    (folder / "below").mkdir()
    shutil.copy(PORTRAIT, folder / "below" / "real.py")
    (folder / "link.py").symlink_to("below/real.py")
    return ["./link.py"]


def as_module(folder: Path) -> list[str]:
    (folder / "pack").mkdir()
    (folder / "pack" / "__init__.py").touch()
    shutil.copy(PORTRAIT, folder / "pack" / "portrait.py")
    return ["-m", "pack.portrait", "-m"]


def as_package(folder: Path) -> list[str]:
    (folder / "pack").mkdir()
    shutil.copy(PORTRAIT, folder / "pack" / "__main__.py")
    return ["-m", "pack"]


def as_folder(folder: Path) -> list[str]:
    (folder / "app").mkdir()
    shutil.copy(PORTRAIT, folder / "app" / "__main__.py")
    return ["app"]


def as_archive(folder: Path) -> list[str]:
    with zipfile.ZipFile(folder / "app.zip", "w") as archive:
        archive.write(PORTRAIT, "__main__.py")
    return ["app.zip"]


def portraits(folder: Path, environ: dict[str, str], words: list[str], *flags: str, **how: Any) -> list[Portrait]:
    """What each of two ranks wrote down of itself."""
    out = folder / "out"
    out.mkdir()
    options: dict[str, Any] = {"input": "one\r\ntwo", "capture_output": True, **how}
    done = subprocess.run(
        [BIN / "accelerate", "launch", *TWO, *flags, *words],
        env={**environ, "OUT": str(out)},
        cwd=folder,
        text=True,
        timeout=60,
        **options,
    )
    assert done.returncode == 0, done.stderr
    assert "not preloaded" not in (done.stderr or "")
    found = [json.loads((out / str(rank)).read_text()) for rank in range(2)]
    shutil.rmtree(out)
    return [(whole, drawn) for whole, drawn, _pid in found]


def known(seen: Any) -> Any:
    """What a rank sees; where its parent stays the process which has imported, without that, and without variables:
    the imitation starts Python by a shell, which changes their order.
    """
    if calls.ADOPTS or not isinstance(seen, dict):
        return seen
    return {name: fact for name, fact in seen.items() if name not in ("group", "parent", "environ", "a child's")}


def assert_same(plain: list[Portrait], preloaded: list[Portrait]) -> None:
    for rank in range(2):
        for part, seen in plain[rank][0].items():
            assert known(preloaded[rank][0][part]) == known(seen), (rank, part)
    drawn = [number for _whole, numbers in preloaded for number in numbers if number is not None]
    assert len(set(map(str, drawn))) == len(drawn), "ranks share random numbers"


@pytest.mark.parametrize(
    "shape", sampled([as_script, as_link, as_module, as_package, as_folder, as_archive], every=6)
)
def test_a_rank_cannot_tell(tmp_path: Path, environ: dict[str, str], shape: Callable[[Path], list[str]]) -> None:
    words = shape(tmp_path)
    plain = portraits(tmp_path, environ, words)
    assert_same(plain, portraits(tmp_path, environ, words, "--preload", "numpy.random,multiprocessing,logging"))


@pytest.mark.parametrize(
    "told",
    [
        {"PYTHONIOENCODING": "latin-1:replace", "PYTHONPATH": "below:", "PYTHONHASHSEED": "1"},
        pytest.param(
            {"PYTHONWARNINGS": "ignore::FutureWarning", "PYTHONSAFEPATH": "1", "PYTHONFAULTHANDLER": "1"},
            marks=pytest.mark.exhaustive,
        ),
        pytest.param(
            {
                "PYTHONUTF8": "1",
                "PYTHONPATH": "",
                "PYTHONDONTWRITEBYTECODE": "1",
                "PYTHONTRACEMALLOC": "1",
                "LC_ALL": "C",
            },
            marks=pytest.mark.exhaustive,
        ),
        pytest.param({"METHODS": "fork,forkserver,spawn"}, marks=pytest.mark.exhaustive),
    ],
    ids=" ".join,
)
def test_whatever_python_is_told(tmp_path: Path, environ: dict[str, str], told: dict[str, str]) -> None:
    words = as_script(tmp_path)
    environ.update(told)
    plain = portraits(tmp_path, environ, words)
    assert_same(plain, portraits(tmp_path, environ, words, "--preload", "numpy"))


@pytest.mark.exhaustive
def test_whatever_is_built_at_the_terminal(tmp_path: Path, environ: dict[str, str]) -> None:
    """On a terminal the ranks' streams are one, and so they are of another kind."""
    words = as_script(tmp_path)
    found: list[list[Portrait]] = []
    for flags in ((), ("--preload", "numpy")):
        ours, theirs = os.openpty()
        try:
            nothing = {"input": None, "capture_output": False, "stdin": subprocess.DEVNULL}
            found.append(portraits(tmp_path, environ, words, *flags, **nothing, stdout=theirs, stderr=theirs))
        finally:
            os.close(ours)
            os.close(theirs)
    assert found[0][0][0]["streams"]["stdout"][10], "this wasn't a terminal"
    assert_same(*found)


def others() -> list[str]:
    """Other versions of Python on this machine; one that is started by a script, as pyenv does, by its real path."""
    found: dict[str, str] = {}
    for minor in range(8, 16):
        named = shutil.which(f"python3.{minor}")
        if named is not None and minor != sys.version_info.minor:
            words = [named, "-c", "import sys; print(sys.executable)"]
            done = subprocess.run(words, capture_output=True, text=True, timeout=30)
            found[f"3.{minor}"] = done.stdout.strip()
    return [path for path in found.values() if path]


@pytest.mark.exhaustive
def test_other_versions_of_python(tmp_path: Path, environ: dict[str, str]) -> None:
    interpreters = others()
    if not interpreters:
        pytest.skip("there is no other Python on PATH: python3.8, python3.12, ...")
    words = as_script(tmp_path)
    for path in interpreters:
        plain = portraits(tmp_path, environ, words, "--python", path)
        assert_same(
            plain, portraits(tmp_path, environ, words, "--python", path, "--preload", "multiprocessing,logging")
        )


# Rank 0 leaves without a word, rank 1 ends in each of these ways.
ENDS = {
    "returns": "pass",
    "exit none": "sys.exit()",
    "exit number": "sys.exit(3)",
    "exit large": "sys.exit(259)",
    "exit true": "sys.exit(True)",
    "exit text": "sys.exit('that was it')",
    "raise exit": "raise SystemExit({'a': 1})",
    "at once": "print('lost?'); os._exit(7)",
    "uncaught": "def f(x):\n    return 1 / x\nf(0)",
    "chained": "try:\n    {}['a']\nexcept KeyError as error:\n    raise ValueError('two\\nlines') from error",
    "group": "raise ExceptionGroup('several', [ValueError(1), OSError(2, 'no')])",
    "own exception": "class Own(Exception):\n    __module__ = '__main__'\nraise Own('mine')",
    "own hook": "sys.excepthook = lambda *a: print('hooked', a[1])\nraise ValueError(1)",
    "interrupt": "raise KeyboardInterrupt",
    "killed": "os.kill(os.getpid(), 9)",
    "aborted": "os.abort()",
    "interrupted": "os.kill(os.getpid(), 2); time.sleep(5)",
    "exit handlers": "for n in range(3): atexit.register(print, n)\nprint('first')",
    "exit in a handler": "atexit.register(sys.exit, 5)",
    "error in a handler": "atexit.register(int, 'x')",
    "threads": "threading.Thread(target=lambda: (time.sleep(0.2), print('late'))).start()\nprint('early')",
    "error in a thread": "threading.Thread(target=int, args=['x']).start()",
    "exit in a thread": "threading.Thread(target=sys.exit, args=[4]).start()",
    "garbage": "class A:\n    def __del__(self):\n        print('gone', flush=True)\na = A()\nb = [a]; b.append(b)",
    "error in garbage": "class A:\n    def __del__(self):\n        raise ValueError(1)\na = A()\na = 1",
    "no newline": "sys.stdout.write('a'); sys.stderr.write('b'); sys.stdout.buffer.write(b'c')",
    "closed output": "sys.stdout.close()",
    "broken output": "os.close(1); print('x')",
    "warning": "import warnings; warnings.warn('careful')\nwarnings.warn('old', DeprecationWarning)",
    "recursion": "def f(): f()\nf()",
}
START = """
import atexit, os, sys, threading, time
if os.environ["RANK"] == "0":
    with open("0.part", "w") as file:
        file.write(str(os.getpid()))
    os.rename("0.part", "0")
    os._exit(0)
while not os.path.exists("0") or os.path.exists("/proc/" + open("0").read()):
    time.sleep(0.01)
os.unlink("0")
"""


@pytest.mark.parametrize("end", sampled(ENDS, every=6))
def test_a_rank_ends_as_it_always_does(accelerate: Run, script: Script, end: str) -> None:
    path = script(START + ENDS[end] + "\n", "train.py")
    plain, preloaded = (
        accelerate("launch", "-q", *TWO, *flags, path) for flags in ((), ("--preload", "colorsys,logging"))
    )
    assert preloaded.returncode == plain.returncode
    assert preloaded.stdout == plain.stdout
    assert without_numbers(preloaded.stderr) == without_numbers(plain.stderr)


@pytest.mark.parametrize(
    "source",
    sampled(["def f(:\n    pass", "if True:\npass", "x = 1\x00", "x = '\udc80'", "# coding: klingon"], every=3),
)
def test_what_python_cannot_read_is_told_as_always(environ: dict[str, str], tmp_path: Path, source: str) -> None:
    path = tmp_path / "train.py"
    path.write_bytes(source.encode(errors="surrogateescape"))
    # SIGTERM is ignored by the ranks as well, so that neither is ended in the middle of what it says.
    words = ["sh", "-c", 'trap "" TERM; exec "$@"', "sh", BIN / "accelerate", "launch", "-q", *TWO]
    plain, preloaded = (
        subprocess.run([*words, *flags, path], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        for flags in ((), ("--preload", "colorsys"))
    )
    assert preloaded.returncode == plain.returncode == 1
    said = [set(done.stderr.partition("accel: rank")[0].splitlines()) for done in (plain, preloaded)]
    assert said[0] == said[1]
    assert "Error: " in plain.stderr


def without_numbers(text: str) -> str:
    """A text without the pids and times in it, and the addresses of objects."""
    return re.sub(r"(pid |time: |0x)[\w: -]+", r"\1N", text)


def test_what_an_import_prints_is_printed_once(accelerate: Run, script: Script) -> None:
    script("import sys\nsys.stdout.write('hello ')\nsys.stderr.write('careful\\n')", "chatty.py")
    path = script("import os\nprint('rank', os.environ['RANK'])")
    done = accelerate("launch", "-q", *TWO, "--preload", "chatty", path)
    assert done.stdout.count("hello") == 1
    assert done.stderr == "careful\n"
    assert set(done.stdout.replace("hello ", "").split("\n")) == {"rank 0", "rank 1", ""}


def test_what_is_held_back_when_the_ranks_are_forked_is_written_once(tmp_path: Path) -> None:
    """A plan of one's own may start Python without ``-u``, which the launcher always gives."""
    (tmp_path / "chatty.py").write_text("import ctypes\nprint('hello')\nctypes.CDLL(None).printf(b'world\\n')\n")
    (tmp_path / "train.py").write_text(
        "import os, sys\nprint('rank', os.environ['RANK'], sys.stdout.write_through)\n"
    )
    code = (
        "import sys\n"
        "from accel_launch import Command, Plan, run\n"
        "ranks = [Command((sys.executable, 'train.py'), {'RANK': str(rank)}, rank=rank) for rank in range(2)]\n"
        "result = run(Plan('local', tuple(ranks), preload=('chatty',)))\n"
        "assert (result.status, result.printed) == (0, ()), result\n"
    )
    environ = {name: text for name, text in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == ["hello", "rank 0 False", "rank 1 False", "world"]


def test_commands_that_differ_are_started_each_by_itself(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from accel_launch import Command, Plan, run\n"
        "ranks = [Command((sys.executable, '-c', f'print({rank})'), {}, rank=rank) for rank in range(2)]\n"
        "print(run(Plan('local', tuple(ranks), preload=('colorsys',))).printed)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert sorted(done.stdout.splitlines()[:2]) == ["0", "1"]
    assert "not preloaded: the commands differ" in done.stdout


def test_a_sites_own_customization_is_kept(tmp_path: Path, environ: dict[str, str], script: Script) -> None:
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text("import sys\nsys.customized = [__file__]\n")
    (site / "usercustomize.py").write_text("import os, sys\nsys.customized += [os.getpid() != 0]\n")
    environ["PYTHONPATH"] = str(site)
    path = script("import sys\nprint(sys.customized, sys.modules['sitecustomize'].__file__, 'site' in sys.path[1])")
    said = [
        subprocess.run(
            [BIN / "accelerate", "launch", *TWO, *flags, path],
            env=environ,
            capture_output=True,
            text=True,
            timeout=30,
        )
        for flags in ((), ("--preload", "colorsys"))
    ]
    assert said[0].stdout == said[1].stdout != ""
    assert "not preloaded" not in said[1].stderr


# Variables.


def test_shared_variables_come_before_the_import_and_a_ranks_own_are_told(accelerate: Run, script: Script) -> None:
    source = "import os\nseen = {n: os.environ.get(n) for n in ('OMP_NUM_THREADS', 'WORLD_SIZE', 'RANK', 'HOME')}\n"
    script(source, "reader.py")
    path = script("import os, reader\nprint(reader.seen, os.environ['RANK'])")
    done = accelerate("launch", *TWO, "--preload", "reader", path, env={"OMP_NUM_THREADS": "5", "HOME": "/h"})
    seen = "{'OMP_NUM_THREADS': '5', 'WORLD_SIZE': '2', 'RANK': None, 'HOME': '/h'}"
    assert sorted(done.stdout.splitlines()) == [f"{seen} 0", f"{seen} 1"]
    assert (
        "accel: note: preload: reader reads RANK while it is imported, before any rank has its own\n" in done.stderr
    )
    assert done.stderr.count("note: preload: ") == 1


def test_what_an_import_sets_stays_set(accelerate: Run, script: Script) -> None:
    script("import os\nos.environ['SET'] = 'yes'\nos.environ['HOME'] = '/new'\ndel os.environ['LEFT']", "setter.py")
    path = script("import os\nprint(*map(os.environ.get, ('SET', 'HOME', 'LEFT', 'WORLD_SIZE')))")
    done = accelerate("launch", "-q", *TWO, "--preload", "setter", path, env={"LEFT": "1"})
    assert done.stdout == "yes /new None 2\n" * 2


def test_variables_that_differ_and_are_read_on_loading_are_told() -> None:
    spawns = tuple(
        spawn(rank, {"RANK": str(rank), "CUDA_VISIBLE_DEVICES": str(rank), "HOME": "/"}) for rank in (0, 1)
    )
    fork_server = ForkServer(spawns, ["colorsys"], os.getpid())
    try:
        assert fork_server.own == ["RANK", "CUDA_VISIBLE_DEVICES"]
        os.write(fork_server.reporting, b"forked 7\nforked 8\n")
        pids, (note,) = fork_server.ended(0)
        assert pids == [7, 8]
        assert note.startswith("preload: CUDA_VISIBLE_DEVICES")
    finally:
        fork_server.close()


def spawn(rank: int, environ: dict[str, str]) -> Spawn:
    return Spawn(rank, ("python",), environ, None, (0, 1, 2))


# Safe or refused.

UNSAFE = {
    "import threading, time\nthreading.Thread(target=time.sleep, args=[9], name='poller', daemon=True).start()": "starts a thread (poller)",
    "import _thread, time\nfor _ in range(2): _thread.start_new_thread(time.sleep, (9,))": "starts 2 threads",
    "import subprocess\nkept = subprocess.Popen(['sleep', '9'])": "starts a process and leaves it running",
    "kept = open('kept.log', 'w')": "/kept.log open",
    "import socket\nkept = socket.socket()": "keeps socket:[",
    "import os\nkept = os.open('/dev/ptmx', os.O_RDWR)": "keeps /dev/ptmx open, an accelerator's runtime perhaps",
    "import mmap, os\nkept = mmap.mmap(-1, 4096)": "shares memory between processes (/dev/zero (deleted))",
    "import random\nrandom.seed(0)": "seeds Python's random numbers",
    "import random\nrandom.setstate(random.Random(1).getstate())": "seeds Python's random numbers",
    "import random\nkept = random.Random(7)": "makes a random generator (Random) that all ranks would share",
    "import random\nkept = random.Random()\nkept.seed(7)": "makes a random generator (Random) that all ranks would share",
    "import numpy\nnumpy.random.seed(0)": "seeds NumPy's random numbers",
    "import numpy\nkept = numpy.random.default_rng()": "makes a random generator (PCG64) that all ranks would share",
    "import sys\nsys.path.insert(0, '/nowhere')": "puts something before the script's folder on sys.path",
    "raise RuntimeError('not today')": "importing unsafe failed with RuntimeError: not today",
    "import sys\nsys.exit(0)": "importing unsafe failed with SystemExit: 0",
    "import os\nos._exit(3)": "the fork server ended with exit status 3 importing unsafe",
    "import os\nos.abort()": "the fork server was terminated by SIGABRT importing unsafe",
    "import absent_module": "importing unsafe failed with ModuleNotFoundError: No module named 'absent_module'",
}  # fmt: skip


@pytest.mark.parametrize(("source", "why"), sampled(UNSAFE.items(), every=5), ids=list(UNSAFE.values()))
def test_what_is_not_safe_is_refused_and_the_run_goes_on(
    accelerate: Run, script: Script, source: str, why: str
) -> None:
    script(source, "unsafe.py")
    path = script("import os, sys\nprint(os.environ['RANK'], 'unsafe' in sys.modules, 'colorsys' in sys.modules)")
    done = accelerate("launch", "-q", *TWO, "--preload", "colorsys,unsafe", path)
    assert done.returncode == 0
    assert sorted(done.stdout.splitlines()) == ["0 False False", "1 False False"]
    (line,) = done.stderr.splitlines()
    assert line.startswith("accel: note: not preloaded: ")
    assert line.endswith("; each rank imports for itself")
    assert why in line
    assert "unsafe" in line


# What can't be had here: a device that torch has opened. Of torch the process asks these, and this answers.
OPENED = """
class cuda:
    is_initialized = staticmethod(lambda: True)

initial_seed = int
"""


def test_an_accelerator_that_torch_has_opened_is_refused(accelerate: Run, script: Script) -> None:
    script(OPENED, "torch.py")
    done = accelerate("launch", "-q", *TWO, "--preload", "torch", script("pass"))
    assert "not preloaded: torch opens torch.cuda; " in done.stderr
    assert done.returncode == 0


def test_a_device_that_is_mapped_is_refused(accelerate: Run, script: Script) -> None:
    """A runtime may close what it has mapped. A block device is the one kind here that can be."""
    devices = [str(path) for path in Path("/dev").iterdir() if path.is_block_device() and mappable(path)]
    if not devices:
        pytest.skip("there is no block device in /dev that may be read, to be mapped in place of an accelerator")
    script(MAPPER.format(path=devices[0]), "mapper.py")
    done = accelerate("launch", "-q", *TWO, "--preload", "mapper", script("pass"))
    assert f"not preloaded: mapper maps {devices[0]}, an accelerator's runtime perhaps; " in done.stderr


# Python's own mapping keeps a descriptor, which would be found first.
MAPPER = """
import ctypes, mmap, os
fd = os.open({path!r}, os.O_RDONLY)
ctypes.CDLL(None).mmap(None, ctypes.c_size_t(4096), mmap.PROT_READ, mmap.MAP_PRIVATE, fd, ctypes.c_long(0))
os.close(fd)
"""


def mappable(path: Path) -> bool:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 4096, mmap.MAP_PRIVATE, mmap.PROT_READ):
            return True
    except (OSError, ValueError):
        return False


def test_what_a_refused_import_left_is_ended(accelerate: Run, script: Script) -> None:
    script(
        "import os, subprocess\nif 'RANK' not in os.environ:\n    print(subprocess.Popen(['sleep', '99']).pid)",
        "unsafe.py",
    )
    path = script("import os, sys, unsafe\nprint(os.environ['RANK'])")
    started = time.monotonic()
    done = accelerate("launch", *TWO, "--preload", "unsafe", path)
    assert "not preloaded" in done.stderr
    pid, *ranks = done.stdout.split()
    assert sorted(ranks) == ["0", "1"]
    assert not alive([int(pid)])
    assert time.monotonic() - started < 20, "it was given the grace of what a script leaves"


SAFE = {
    "numbers that are drawn": "import random, tempfile\nfor _ in range(3000): random.random()\ntempfile.mktemp()",
    "devices without a state": "kept = [open(p) for p in ('/dev/null', '/dev/urandom', '/dev/zero')]",
    "a system's generator": "import random\nkept = random.SystemRandom()",
    "a generator that drew its seed": "import random\nkept = random.Random()\nrandom.random = kept.random",
    "a process and a thread that have ended": "import subprocess, threading\nsubprocess.run(['true'])\nt = threading.Thread(target=int)\nt.start()\nt.join()",
}


@pytest.mark.parametrize("name", SAFE)
def test_what_is_safe_is_not_refused(accelerate: Run, script: Script, name: str) -> None:
    script(SAFE[name], "safe.py")
    path = script("import random, sys\nprint('safe' in sys.modules, random.random())")
    done = accelerate("launch", "-q", *TWO, "--preload", "safe", path)
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["True", "True"]
    assert len(set(done.stdout.splitlines())) == 2
    assert done.stderr == ""


POOL = """
import os, sys
import numpy
before = len(os.listdir("/proc/self/task"))
found = numpy.ones((700, 700)) @ numpy.ones((700, 700))
print(before, len(os.listdir("/proc/self/task")), found.sum(), flush=True)
"""


@pytest.mark.exhaustive
def test_numpys_pool_ends_before_the_fork_and_starts_again(accelerate: Run, script: Script) -> None:
    several = {"OMP_NUM_THREADS": "4"}
    threads = "import os, numpy; print(len(os.listdir('/proc/self/task')))"
    alone = subprocess.run(
        [sys.executable, "-c", threads], env={**os.environ, **several}, capture_output=True, text=True
    )
    if alone.stdout.strip() == "1":
        pytest.skip("this machine lets NumPy start no threads: it has one core")
    done = accelerate("launch", "-q", *TWO, "--preload", "numpy", script(POOL), env=several)
    assert done.stderr == ""
    assert done.stdout == f"1 {alone.stdout.strip()} {700**3}.0\n" * 2


def test_a_thread_beside_numpys_pool_is_still_refused(accelerate: Run, script: Script) -> None:
    script(
        "import numpy, threading, time\nthreading.Thread(target=time.sleep, args=[9], daemon=True).start()", "both.py"
    )
    done = accelerate("launch", "-q", *TWO, "--preload", "both", script("pass"), env={"OMP_NUM_THREADS": "4"})
    assert "not preloaded: both starts a thread" in done.stderr
    assert done.returncode == 0


# Whatever happens while it imports.

SLOW = "import os, time\nos.write(1, b'%d\\n' % os.getpid())\ntime.sleep({seconds})\n"


@pytest.fixture
def slow(script: Script) -> Callable[[float], tuple[object, ...]]:
    """Flags and a script for a launch whose import says its pid and takes some seconds."""

    def write(seconds: float) -> tuple[object, ...]:
        folder = script(SLOW.format(seconds=seconds), "slow.py").parent
        path = script("import os\nos.write(1, b'%d\\n' % os.getpid())\n" + "import time\ntime.sleep(60)", "sleeps.py")
        assert folder == path.parent
        return (*TWO, "--preload", "slow", path)

    return write


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_during_the_import_is_our_death(launched: Start, script: Script, number: int) -> None:
    """Also of an import that hears none."""
    deaf = "import signal\nfor number in (1, 2, 3, 15): signal.signal(number, signal.SIG_IGN)\n"
    script(deaf + SLOW.format(seconds=30), "slow.py")
    running = launched(*TWO, "--preload", "slow", script("pass"))
    (fork_server,) = read_pids(running, 1)
    running.send_signal(number)
    assert running.wait(10) == -number
    assert gone([fork_server], 0.5)


def test_killing_the_importing_process_starts_ranks_plainly(launched: Start, slow: Any) -> None:
    running = launched(*slow(30))
    (fork_server,) = read_pids(running, 1)
    os.kill(fork_server, signal.SIGKILL)
    ranks = read_pids(running, 2)
    running.terminate()
    _out, err = running.communicate(timeout=10)
    assert gone(ranks)
    assert running.returncode == -signal.SIGTERM
    assert "not preloaded: the fork server was terminated by SIGKILL importing slow" in err


def test_killing_the_launcher_or_the_guardian_during_the_import_leaves_nothing(launched: Start, slow: Any) -> None:
    running = launched(*slow(30))
    (fork_server,) = read_pids(running, 1)
    running.kill()
    assert gone([fork_server])
    running = launched(*slow(30))
    (fork_server,) = read_pids(running, 1)
    guardian = int(Path(f"/proc/{fork_server}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(guardian, signal.SIGKILL)
    assert running.wait(10) == 137
    assert gone([fork_server], 0.5)


def test_a_user_signal_during_the_import_reaches_the_ranks(launched: Start, slow: Any) -> None:
    running = launched(*slow(0.5))
    read_pids(running, 1)
    running.send_signal(signal.SIGUSR1)
    assert running.wait(10) == 128 + signal.SIGUSR1


def test_tstp_and_cont_during_the_import(launched: Start, slow: Any) -> None:
    running = launched(*slow(0.3))
    (fork_server,) = read_pids(running, 1)

    def state() -> str:
        return Path(f"/proc/{fork_server}/stat").read_text().rpartition(")")[2].split()[0]

    running.send_signal(signal.SIGTSTP)
    assert until(lambda: state() == "T")
    time.sleep(0.5)
    assert state() == "T"
    running.send_signal(signal.SIGCONT)
    ranks = read_pids(running, 2)
    running.terminate()
    assert running.wait(10) == -signal.SIGTERM
    assert gone(ranks)


def test_ranks_that_the_fork_server_has_forked_go_on_too() -> None:
    """Between their first lines and its end, the guardian doesn't know them yet."""
    words = [sys.executable, "-c", "import time; time.sleep(60)"]
    server, rank = (subprocess.Popen(words, process_group=0) for _one in range(2))
    try:
        children: Any = SimpleNamespace(fork_server=server.pid, ranks={}, below={})
        forwarder = Forwarder(children, None)
        rank.send_signal(signal.SIGSTOP)
        assert until(lambda: psutil.Process(rank.pid).status() == psutil.STATUS_STOPPED)
        for number in (signal.SIGTSTP, signal.SIGCONT):
            forwarder.pass_on(number)
        children.fork_server, children.ranks = None, {rank.pid: 0}
        forwarder.pass_on_early()
        assert until(lambda: psutil.Process(rank.pid).status() != psutil.STATUS_STOPPED)
    finally:
        for one in (server, rank):
            one.kill()
            one.wait()


def test_a_system_that_forks_no_more_starts_them_plainly(accelerate: Run, script: Script) -> None:
    """Every other fork of the process that imports fails: what it has forked until then must not run."""
    script(
        "import os\nfork, calls = os.fork, []\n"
        "def few():\n    calls.append(1)\n    if len(calls) > 1:\n        raise BlockingIOError(11, 'not now')\n    return fork()\n"
        "os.fork = few\n",
        "few.py",
    )
    done = accelerate(
        "launch", "-q", *TWO, "--preload", "few", script("import os\nprint('rank', os.environ['RANK'])")
    )
    assert sorted(done.stdout.splitlines()) == ["rank 0", "rank 1"]
    assert done.stderr == (
        "accel: note: not preloaded: the system starts no more processes: not now; each rank imports for itself\n"
    )


def test_the_report_holds_what_was_said(accelerate: Run, script: Script, tmp_path: Path) -> None:
    script("raise ValueError", "unsafe.py")
    report = tmp_path / "report.json"
    accelerate("launch", *TWO, "--preload", "unsafe", "--report", report, script("pass"))
    (note,) = json.loads(report.read_text())["notes"]
    assert note.startswith("not preloaded: importing unsafe failed")


def test_a_name_that_a_module_lacks_is_told(accelerate: Run, script: Script) -> None:
    done = accelerate("launch", *TWO, "--preload", "json,colorsys:Nothing", script("print('ran')"))
    assert (done.returncode, done.stdout) == (0, "ran\n" * 2)
    assert "note: not preloaded: importing colorsys:Nothing failed with AttributeError: " in done.stderr
    done = accelerate("launch", *TWO, "--preload", "email:message,colorsys:hls_to_rgb", script("print('ran')"))
    assert (done.stdout, "not preloaded" in done.stderr) == ("ran\n" * 2, False)


def test_the_collector_leaves_alone_what_ranks_share(accelerate: Run, script: Script) -> None:
    """It would copy all of that memory at the end of each rank."""
    path = script("import gc, colorsys\nprint(any(vars(colorsys) is one for one in gc.get_objects()))")
    for flags, seen in ((), "True\n"), (("--preload", "colorsys"), "False\n"):
        assert accelerate("launch", *TWO, *flags, path).stdout == 2 * seen


# What is imported.


def test_it_is_off_by_default_and_shown(accelerate: Run, script: Script) -> None:
    path = script("pass")
    assert "once" not in accelerate("launch", *TWO, "--dry_run", path).stdout
    shown = accelerate("launch", *TWO, "--dry_run", "--preload", "json,colorsys", path).stdout
    assert "engine local, preload json, colorsys\n" in shown
    told = json.loads(accelerate("launch", *TWO, "--dry_run", "--json", "--preload", "json", path).stdout)
    assert told["preload"] == ["json"]
    assert "preload" not in json.loads(accelerate("launch", *TWO, "--dry_run", "--json", path).stdout)


def test_a_file_and_a_variable_give_it_too(accelerate: Run, script: Script, tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("preload: [json, colorsys]\nuse_cpu: true\nnum_processes: 2\ndistributed_type: MULTI_CPU\n")
    path = script("import sys\nprint(*(name in sys.modules for name in ('json', 'colorsys', 'sched')))")
    assert accelerate("launch", "--config_file", file, path).stdout == "True True False\n" * 2
    variable = {"ACCELERATE_LAUNCH_PRELOAD": "sched"}
    assert accelerate("launch", "--config_file", file, path, env=variable).stdout == "False False True\n" * 2


@pytest.mark.parametrize(
    ("word", "why"),
    [
        ("train.py-x", "--preload: preload must be names of modules, separated by commas"),
        ("json,trch_that_is_absent", "preload trch_that_is_absent (--preload): there is no module"),
        ("json:", "not 'json:'"),
    ],
)
def test_names_that_cannot_be_are_refused(accelerate: Run, script: Script, word: str, why: str) -> None:
    done = accelerate("launch", *TWO, "--preload", word, script("print('ran')"))
    assert done.returncode == 2
    assert why in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (("--cpu",), "has no effect: one process imports its modules once anyway"),
        ((*TWO, "--no_python"), "has no effect: --no_python runs a program as it is"),
        ((*TWO, "--engine", "torchrun"), "has no effect: the engine torchrun starts its ranks in another way"),
        ((*TWO, "--python", "wrap"), "is a script, which may start Python with flags that prevent it"),
    ],
)
def test_where_it_has_no_effect_that_is_said(
    accelerate: Run, script: Script, flags: tuple[str, ...], why: str
) -> None:
    wrapper = script('#!/bin/sh\nexec python3 -I "$@"\n', "wrap")
    wrapper.chmod(0o755)
    path = {"PATH": f"{wrapper.parent}:{os.environ['PATH']}"}
    done = accelerate("launch", *flags, "--preload", "json", "--dry_run", script("pass"), env=path)
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("# note: preload")]
    assert line.startswith("# note: preload json (--preload) ")
    assert why in line
    assert "engine local, preload" not in done.stdout


class Answering(Programs):
    """An interpreter that prints this."""

    def __init__(self, answer: str) -> None:
        super().__init__()
        self.answer = answer

    def output(self, *words: str, within: float = 20.0) -> str:  # noqa: ARG002 - it answers at once
        assert words[1] == "-c"
        return self.answer


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("accel 3 7 0", "is Python 3.7, and forking from it needs 3.8 or later"),
        ("accel 2 7 0", "is Python 2.7, and forking from it needs 3.8 or later"),
        ("accel 3 12 1", "ignores PYTHONPATH"),
        ("-c import sys", "doesn't answer as Python does"),
        ("accel 3 8 0", ""),
        ("accel 4 0 0", ""),
    ],
)
def test_an_interpreter_that_cannot_fork_ranks_is_recognized(
    settings: Resolve, tmp_path: Path, answer: str, why: str
) -> None:
    """It would run the script itself."""
    (tmp_path / "train.py").touch()
    (tmp_path / "python").touch()
    still = Still(programs=Answering(answer))
    on = host().replace(cwd=str(tmp_path), probe=still)
    todo = plan(settings(*TWO, "--preload", "json", "--python", f"{tmp_path}/python"), on, ["train.py"])
    assert bool(todo.preload) == (not why)
    if why:
        (note,) = todo.notes
        assert why in note


def test_python_answers(tmp_path: Path) -> None:
    from accel_launch.planning.preload import VERSION

    words = (
        [sys.executable, "-c", VERSION],
        [sys.executable, "-E", "-c", VERSION],
        [sys.executable, "-S", "-c", VERSION],
    )
    answers = [subprocess.run(one, capture_output=True, text=True, timeout=30).stdout for one in words]
    version = f"accel {sys.version_info.major} {sys.version_info.minor}"
    assert answers == [f"{version} 0", f"{version} 1", f"{version} 1"]


AUTO = {
    "import os\nimport torch\nfrom torch.utils.data import DataLoader\n": ["torch", "torch.utils.data"],
    '"""Doc."""\nfrom __future__ import annotations\nVERSION = "1"\nimport numpy as np, sys\n': ["numpy"],
    "from transformers import Trainer, AutoModel\n": [
        "transformers",
        "transformers:Trainer",
        "transformers:AutoModel",
    ],
    "import tqdm\nimport yaml\nimport sklearn.linear_model\n": ["sklearn.linear_model"],
    "import torch\nprint(1)\nimport transformers\n": ["torch"],
    "import torch\nimport beside\nimport transformers\n": ["torch"],
    "import torch\nfrom . import beside\nimport numpy\n": ["torch"],
    "import logging\nimport torch\n": [],  # the script's own, in its folder
    "import unknown_library\nimport torch\n": [],
    "import os\nos.environ['A'] = '1'\nimport torch\n": [],
    "try:\n    import torch\nexcept ImportError:\n    pass\n": [],
    "pass\n": [],
    "import torch\nx = = 1\n": [],
}


@pytest.mark.parametrize(("source", "picked"), AUTO.items())
def test_auto_picks_what_the_script_begins_with(
    settings: Resolve, tmp_path: Path, source: str, picked: list[str]
) -> None:
    (tmp_path / "train.py").write_text(source)
    (tmp_path / "beside.py").touch()
    (tmp_path / "logging.py").touch()
    todo = plan(settings(*TWO, "--preload", "auto"), host().replace(cwd=str(tmp_path)), ["train.py"])
    assert list(todo.preload or ()) == picked
    nothing = [
        note for note in todo.notes if re.search("found nothing to import once|doesn't import .* once: ", note)
    ]
    assert bool(nothing) == (not picked)
    (tmp_path / "train.py").write_text(
        "import torch\nimport beside\nimport numpy\nfrom transformers import Trainer\n"
    )
    todo = plan(settings(*TWO, "--preload", "auto"), host().replace(cwd=str(tmp_path)), ["train.py"])
    assert todo.notes[0] == (
        f"preload auto (--preload) imports torch once, but not numpy, transformers: line 2 of {tmp_path}/train.py imports "
        "beside first; --preload NAMES imports modules first all the same"
    )


def test_auto_reads_modules_by_way_of_their_packages(settings: Resolve, tmp_path: Path) -> None:
    (tmp_path / "pack" / "sub").mkdir(parents=True)
    (tmp_path / "pack" / "__init__.py").write_text("import numpy\n")
    (tmp_path / "pack" / "sub" / "__init__.py").touch()
    (tmp_path / "pack" / "sub" / "train.py").write_text("import torch\n")
    (tmp_path / "pack" / "sub" / "__main__.py").write_text("import scipy\n")

    def picked(word: str) -> object:
        resolved = settings(*TWO, "--preload", "auto", "-m")
        return plan(resolved, host().replace(cwd=str(tmp_path), probe=Still(modules=("pack",))), [word]).preload

    assert picked("pack.sub.train") == ("numpy", "torch")
    assert picked("pack.sub") == ("numpy", "scipy")
    (tmp_path / "pack" / "__init__.py").write_text("import os\nos.nice(1)\n")
    assert picked("pack.sub") == ()


# Torch, and what is built on it.

TORCH = """
import json, os, sys
import torch
import torch.distributed as dist
from torch.utils.data import DataLoader, Dataset

class Squares(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, place):
        return torch.tensor([place * place, os.getppid() == MAIN if MAIN else 2])

MAIN = 0

def main():
    global MAIN
    before = len(os.listdir("/proc/self/task"))
    own = [torch.rand(1).item(), torch.initial_seed()]
    MAIN = os.getpid()
    workers = {"fork": 2, **({"spawn": 1} if os.environ["RANK"] == "0" else {})}
    loaded = {
        method: [batch.tolist() for batch in DataLoader(Squares(), 4, num_workers=n, multiprocessing_context=method)]
        for method, n in workers.items()
    }
    dist.init_process_group("gloo")
    number = torch.tensor(float(dist.get_rank() + 1))
    dist.all_reduce(number)
    torch.manual_seed(3)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(3, 2))
    loss = model(torch.ones(4, 3)).sum()
    loss.backward()
    seen = {
        "threads": [before, torch.get_num_threads(), torch.get_num_interop_threads()],
        "cuda": [torch.cuda.is_available(), torch.cuda.is_initialized(), torch.cuda._is_in_bad_fork()],
        "loaded": loaded,
        "reduced": number.item(),
        "loss": loss.item(),
        "gradient": model.module.weight.grad.tolist(),
        "state": list(torch.default_generator.get_state()[:40].tolist()),
    }
    attempt = os.environ["TORCHELASTIC_RESTART_COUNT"]
    print(json.dumps([dist.get_rank(), attempt, seen, own]) + "\\n", end="", flush=True)
    dist.barrier()
    dist.destroy_process_group()
    sys.exit(int(os.environ["STATUS"]) if attempt == "0" else 0)

if __name__ == "__main__":
    main()
"""


@pytest.mark.exhaustive
@pytest.mark.timeout(400)
def test_torch_is_as_in_a_fresh_interpreter(accelerate: Run, script: Script) -> None:
    """In the first attempt, and in one that forks from what the first has kept."""
    pytest.importorskip("torch")
    path = script(TORCH)
    told = {"OMP_NUM_THREADS": "1"}
    found: list[tuple[int, str, Any, list[float]]] = []
    again = ("--preload", "auto", "--restart_policy", "always", "--max_restarts", "1")
    for flags, status in (((), "0"), (again, "9")):
        done = accelerate("launch", *TWO, *flags, path, env={**told, "STATUS": status}, timeout=170)
        assert done.returncode == 0, done.stderr
        assert "note" not in done.stderr
        found += [tuple(json.loads(line)) for line in done.stdout.splitlines()]
    for rank in range(2):
        plain, *preloaded = [seen for number, _attempt, seen, _own in found if number == rank]
        assert preloaded == [plain, plain]
    numbers = [number for _rank, _attempt, _seen, own in found[2:] for number in own]
    assert len(set(numbers)) == len(numbers), "ranks share torch's random numbers"


@pytest.mark.exhaustive
def test_an_import_that_seeds_torch_is_refused(accelerate: Run, script: Script) -> None:
    pytest.importorskip("torch")
    script("import torch\ntorch.manual_seed(0)", "seeded.py")
    done = accelerate("launch", "-q", *TWO, "--preload", "seeded", script("pass"))
    assert "not preloaded: seeded seeds torch's random numbers; " in done.stderr
    assert done.returncode == 0


@pytest.mark.exhaustive
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("flags", "example", "says"),
    [
        (("--cpu",), "train_digits.py", "2 ranks"),
        (("--use_fsdp", "--fsdp_version", "2"), "train_fsdp2.py", "4096 of 8192 here"),
    ],
)
def test_examples_train_preloaded(accelerate: Run, flags: tuple[str, ...], example: str, says: str) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("sklearn")
    words = (*flags, "--num_processes", "2", "--preload", "auto", ROOT / "examples" / example, "--epochs", "8")
    done = accelerate("launch", *words, timeout=220)
    assert done.returncode == 0, done.stderr
    assert "sklearn.datasets" in done.stderr
    assert "preloaded" not in done.stderr
    line = done.stdout.splitlines()[-1]
    assert says in line
    assert float(line.split()[1].rstrip(",")) > 0.9


@pytest.mark.stress
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["test_script", "test_sync", "test_ops"])
def test_the_librarys_own_scripts_run_preloaded(environ: dict[str, str], tmp_path: Path, name: str) -> None:
    """Two ranks of Hugging Face's distributed scripts; more of them need GPUs."""
    words = (*TWO, "--preload", "torch,accelerate", "-m", f"accelerate.test_utils.scripts.{name}")
    done = subprocess.run(
        [environment("hf") / "accelerate", "launch", *words],
        env={**environ, "OMP_NUM_THREADS": "1"},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "preload torch, accelerate" in done.stderr
    assert "preloaded" not in done.stderr


@pytest.mark.exhaustive
def test_auto_of_the_library_is_safe(environ: dict[str, str], script: Script) -> None:
    path = script(
        "from transformers import Trainer\nfrom accelerate import Accelerator\nimport safetensors\nprint(Trainer)"
    )
    done = subprocess.run(
        [environment("hf") / "accelerate", "launch", *TWO, "--preload", "auto", path],
        env={**environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert done.stdout == "<class 'transformers.trainer.Trainer'>\n" * 2, done.stderr
    assert "preload transformers, transformers:Trainer, accelerate, safetensors" in done.stderr
    assert "preloaded" not in done.stderr
