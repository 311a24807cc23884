"""What `spawn` decides by itself; with torch_xla it is tested in test_xla."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from accel_tpu import spawn
from tests.schedule import sampled

YES = (
    "def main(): pass", "async def main(): pass", "class main: pass", "main = 1", "main: int = 1", "from x import main",
    "from x import y as main", "import main", "from x import *", "try:\n    from x import main\nexcept ImportError:\n    pass",
    "if True:\n    pass\nelse:\n    def main(): pass", "with x:\n    main = y", "for main in x: pass", "x, main = 1, 2", "def broken(",
)  # fmt: skip
NO = (
    "", "def other():\n    def main(): pass", "class A:\n    def main(self): pass", "main()", "x = main", "from main import x",
    "if __name__ == '__main__':\n    def main(): pass\n    main()", "x.main = 1", "# def main(): pass", "'def main(): pass'",
)  # fmt: skip


@pytest.mark.parametrize("source", YES)
def test_scripts_that_define_it(tmp_path: Path, source: str) -> None:
    (tmp_path / "x.py").write_text(source)
    assert spawn.defines(str(tmp_path / "x.py"), "main")


@pytest.mark.parametrize("source", NO)
def test_scripts_that_do_not(tmp_path: Path, source: str) -> None:
    (tmp_path / "x.py").write_text(source)
    assert not spawn.defines(str(tmp_path / "x.py"), "main")


def run(
    tmp_path: Path,
    source: str,
    *words: str,
    how: tuple[str, ...] = ("spmd", "main", "usual", "file"),
    xla: str = "2.9.0",
    torch: str = "2.9.0",
) -> subprocess.CompletedProcess[str]:
    """Run `spawn` in one process, where an installation of torch_xla is pretended: only its version is asked for."""
    for name, version in (("torch_xla", xla), ("torch", torch)):
        folder = tmp_path / "site" / f"{name}-{version}.dist-info"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (tmp_path / "my").mkdir(exist_ok=True)
    (tmp_path / "my" / "train-it.py").write_text(source)
    (tmp_path / "my" / "beside.py").write_text("value = 'of the folder'\n")
    return subprocess.run(
        [sys.executable, "-u", spawn.__file__, *how, "my/train-it.py", *words],
        cwd=tmp_path, env={"PYTHONPATH": str(tmp_path / "site")}, capture_output=True, text=True,
    )  # fmt: skip


def test_the_script_is_imported_from_its_folder(tmp_path: Path) -> None:
    done = run(
        tmp_path, "import sys, beside\ndef main():\n    print(beside.value, sys.argv, __name__)\n", "-a", "b c"
    )
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "of the folder ['my/train-it.py', '-a', 'b c'] train-it\n",
        "",
    )


def test_a_script_without_the_usual_function_is_run(tmp_path: Path) -> None:
    done = run(tmp_path, "import sys\nprint(__name__)\nif __name__ == '__main__':\n    sys.exit(4)\n")
    assert (done.returncode, done.stdout) == (4, "__main__\n")


def test_a_function_that_was_named_must_be_there(tmp_path: Path) -> None:
    done = run(tmp_path, "x = 1\n", how=("spmd", "go", "named", "file"))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "accel: my/train-it.py has no function go (--main_training_function)\n"
    done = run(tmp_path, "from beside import *\n", how=("spmd", "go", "named", "file"))
    assert (done.returncode, done.stderr) == (2, "accel: my/train-it.py has no function go\n")


@pytest.mark.parametrize(
    ("parameters", "printed"),
    [("", "()"), ("index", "(0,)"), ("a=1", "(1,)"), ("index, b=2", "(0, 2)"), ("*a", "((),)")],
)
def test_the_index_is_given_to_who_wants_it(tmp_path: Path, parameters: str, printed: str) -> None:
    names = ", ".join(one.strip("*").partition("=")[0] for one in parameters.split(", ") if one)
    done = run(tmp_path, f"def main({parameters}):\n    print(({names}{',' if names else ''}))\n")
    assert (done.returncode, done.stdout) == (0, printed + "\n")


def test_a_traceback_begins_with_the_user_s_code(tmp_path: Path) -> None:
    done = run(tmp_path, "def main():\n    raise ValueError('x')\n")
    assert done.returncode == 1
    assert (
        done.stderr.splitlines()[:2]
        == ["Traceback (most recent call last):", f'  File "{tmp_path}/my/train-it.py", line 2, in main']
        or "spawn.py" not in done.stderr
    )
    assert done.stderr.endswith("ValueError: x\n")


@pytest.mark.parametrize(
    ("xla", "torch", "message"),
    [("2.5.1", "2.5.1", "torch_xla 2.5.1 is too old; run: pip install"), ("2.9.0", "2.10.0", "torch_xla 2.9.0 needs the same version of torch, not 2.10.0")],
)  # fmt: skip
def test_versions_that_do_not_do(tmp_path: Path, xla: str, torch: str, message: str) -> None:
    done = run(tmp_path, "def main(): print('ran')", xla=xla, torch=torch)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_no_torch_xla(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-S", spawn.__file__, "all", "main", "usual", "file", "x.py"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("accel: torch_xla isn't installed for ")


# Several processes. No machine of ours has several chips, so torch_xla is stood in for: its pool of processes, each with
# a thread for the function, is as in its own `launch`.

POOL = """
import concurrent.futures, functools, multiprocessing

def launch(fn, args=(), start_method="spawn", debug_single_process=False):
    if debug_single_process:
        return fn(0, *args)
    with concurrent.futures.ProcessPoolExecutor(4, mp_context=multiprocessing.get_context(start_method)) as pool:
        list(pool.map(functools.partial(_process, fn), range(4)))

def _process(fn, rank):
    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        list(threads.map(fn, [rank]))
"""
ALL = ("all", "main", "usual", "file")


def on_four(tmp_path: Path, two: str, others: str = "time.sleep(60)") -> subprocess.CompletedProcess[str]:
    """Run a function in four processes: process 2 does one thing, once the others do another."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "torch_xla.py").write_text(POOL)
    source = (
        "import os, sys, time\nfrom pathlib import Path\n"
        "def main(index):\n"
        "    Path(f'up{index}').touch()\n"
        "    while len(list(Path('.').glob('up*'))) < 4: time.sleep(0.02)\n"
        f"    if index == 2:\n        {two}\n    else:\n        {others}\n"
    )
    began = time.monotonic()
    done = run(tmp_path, source, how=ALL)
    assert time.monotonic() - began < 30
    return done


@pytest.mark.parametrize(
    ("two", "status", "how"),
    sampled(
        [
            ("raise ValueError('no luck')", 1, "exit status 1"),
            ("sys.exit(7)", 7, "exit status 7"),
            ("os._exit(5)", 5, "exit status 5"),
            ("os.kill(os.getpid(), 9)", -9, "terminated by SIGKILL"),
            ("os.kill(os.getpid(), 15)", -15, "terminated by SIGTERM"),
        ],
        every=3,
    ),
)
def test_the_first_failure_ends_all_and_is_reported(tmp_path: Path, two: str, status: int, how: str) -> None:
    done = on_four(tmp_path, two)
    assert done.returncode == status
    # The pool ends the others by SIGTERM, so that of deaths by SIGTERM, seen at once, any may have been the first.
    which = r"\d" if how == "terminated by SIGTERM" else "2"
    assert re.search(f"^accel: process {which}: {how}, the first of 4 to fail$", done.stderr, re.MULTILINE)
    assert "BrokenProcessPool" not in done.stderr
    assert "resource_tracker" not in done.stderr
    assert done.stderr.count("Traceback") == (status == 1)
    assert not [p for p in psutil.process_iter(["cmdline", "cwd"]) if p.info["cwd"] == str(tmp_path)]


def test_all_well(tmp_path: Path) -> None:
    done = on_four(tmp_path, "print('two')", "sys.exit(0)")
    assert (done.returncode, done.stdout, done.stderr) == (0, "two\n", "")


def test_an_interrupt_reaches_every_function(tmp_path: Path) -> None:
    done = on_four(
        tmp_path,
        "time.sleep(0.3); import signal; os.kill(os.getppid(), signal.SIGINT); [time.sleep(0.05) for _ in range(1200)]",
        "try:\n            [time.sleep(0.05) for _ in range(1200)]\n        except KeyboardInterrupt:\n            Path(f'interrupted{index}').touch()\n            raise",
    )
    assert done.returncode == -2
    assert len(list(tmp_path.glob("interrupted*"))) == 3
    assert "Traceback" not in done.stderr
