"""Which exception ended a process, by what real interpreters print and how they end; and that nothing else is claimed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from accel_launch.running.report.evidence.blocks import blocks
from accel_launch.running.report.evidence.finding import Found, found
from accel_launch.running.report.evidence.lines import plain
from accel_launch.running.report.observation import Output
from tests.conftest import needs_torch
from tests.fuzzing import fuzz
from tests.interpreters import VERSIONS, find
from tests.schedule import sampled

NOTHING = ("", "")
FAIL = "def fail(text='it'):\n    raise ValueError(text)\n"  # on line 2


def ended(path: Path, source: str, *options: str, python: str = sys.executable) -> Found:
    """What is known of a script's end."""
    path.write_text(source)
    before = time.time()
    done = subprocess.run([python, *options, path], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, check=False)
    status = done.returncode
    text = done.stderr.decode(errors="replace")
    output = Output(text, time.time() if "Traceback (most" in text else 0.0, time.time())
    return found(output, 128 - status if status < 0 else status, max(0, -status), since=before)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "train.py"


CAUGHT = {
    "plain": (FAIL + "fail()\n", "ValueError: it", 2),
    "without a message": ("def f():\n    raise LookupError\nf()\n", "LookupError", 2),
    "assertion": ("assert 1 == 2, 'so'\n", "AssertionError: so", 1),
    "lines": (FAIL + "fail('one\\ntwo\\n\\n    three')\n", "ValueError: one\ntwo\n\n    three", 2),
    "notes": (
        "try:\n    raise ValueError('it')\nexcept ValueError as e:\n    e.add_note('a note\\nof two lines')\n    raise\n",
        "ValueError: it\na note\nof two lines",
        2,
    ),
    "chained": (FAIL + "try:\n    fail()\nexcept ValueError:\n    {}['no']\n", "KeyError: 'no'", 6),
    "caused": (
        FAIL + "try:\n    fail()\nexcept ValueError as e:\n    raise OSError('so') from e\n",
        "OSError: so",
        6,
    ),
    "group": (
        "raise ExceptionGroup('both', [ValueError('one'), ExceptionGroup('in', [KeyError('two')])])\n",
        "ExceptionGroup: both (2 sub-exceptions)\n  ValueError: one\n  ExceptionGroup: in (1 sub-exception)\n  KeyError: 'two'",
        1,
    ),
    "own type in a function": (
        "def f():\n    class Mine(Exception): pass\n    return Mine\nraise f()('it')\n",
        "f.<locals>.Mine: it",
        4,
    ),
    "syntax": ("x = 1\ndef f(:\n    pass\n", "SyntaxError: invalid syntax", 2),
    "syntax elsewhere": (
        "open(__file__ + '_bad.py', 'w').write('x = (\\n')\nexec(compile(open(__file__ + '_bad.py').read(), __file__, 'exec'))\n",
        "SyntaxError: '(' was never closed",
        1,
    ),
    "a dataclass": (
        (
            "from dataclasses import dataclass\n@dataclass\nclass Settings:\n    rate: float\n    def __post_init__(self):\n"
            "        if self.rate < 0:\n            raise ValueError('rate')\nSettings(-1)\n"
        ),
        "ValueError: rate",
        7,
    ),
    "a dataclass's constructor": (
        (
            "from dataclasses import dataclass, field\nclass Bad:\n    def __set__(self, one, value):\n"
            "        one.__dict__['x'] = value\n    def __get__(self, one, kind): return 3\n"
            "@dataclass\nclass Settings:\n    x: int = Bad()\n    y: int = field(default_factory=lambda: {}['no'])\nSettings()\n"
        ),
        "KeyError: 'no'",
        9,
    ),
    "code without a file": ("exec('def f():\\n    1/0')\nf()\n", "ZeroDivisionError: division by zero", 2),
    "in a library": ("import json\njson.loads('{')\n", None, 2),
    "recursion": ("def f():\n    f()\nf()\n", "RecursionError: maximum recursion depth exceeded", 2),
    "warnings at the exit": (
        FAIL + "import atexit, warnings\natexit.register(warnings.warn, 'late')\nfail()\n",
        "ValueError: it",
        2,
    ),
    "an exit handler that fails": (
        FAIL + "import atexit\natexit.register(lambda: {}['no'])\nfail()\n",
        "ValueError: it",
        2,
    ),
    "an exit handler that prints": (
        "import atexit, sys\natexit.register(lambda: print('a last word', file=sys.stderr))\nraise ValueError('it')\n",
        "ValueError: it",
        3,
    ),
    "an exit handler that prints after Python's own": (
        "import atexit, sys\natexit.register(lambda: print('a last word', file=sys.stderr))\n{}['no']\n",
        "KeyError: 'no'",
        3,
    ),
    "text that isn't all of the message": (
        "class Mine(Exception):\n    def __str__(self): return f'{self.args[0]}\\nmore'\nraise Mine('it')\n",
        "Mine: it\nmore",
        3,
    ),
    "a destructor that fails": (
        FAIL + "class X:\n    def __del__(self):\n        1 / 0\nx = X()\nx.x = x\nfail()\n",
        "ValueError: it",
        2,
    ),
    "a thread that failed before": (
        FAIL + "import threading\nt = threading.Thread(target=lambda: {}['no'])\nt.start()\nt.join()\nfail()\n",
        "ValueError: it",
        2,
    ),
    "a child that failed": (
        FAIL + "import multiprocessing\nif __name__ == '__main__':\n"
        "    c = multiprocessing.get_context('fork').Process(target=lambda: {}['no'])\n    c.start()\n    c.join()\n    fail()\n",
        "ValueError: it",
        2,
    ),
    "one of a pool": (
        FAIL + "import multiprocessing\nif __name__ == '__main__':\n"
        "    with multiprocessing.get_context('fork').Pool(1) as pool:\n        pool.apply(fail)\n",
        "ValueError: it",
        2,
    ),
    "a hook that fails": (
        FAIL + "import sys\ndef hook(*_):\n    raise OSError('hook')\nsys.excepthook = hook\nfail()\n",
        "ValueError: it",
        2,
    ),
    "logged and ended": (
        FAIL + "import logging, sys\ntry:\n    fail()\nexcept ValueError:\n    logging.exception('training failed')\n"
        "    sys.exit(1)\n",
        "ValueError: it",
        2,
    ),
    "a progress bar before it": (
        FAIL + "import sys\nsys.stderr.write('\\r 10%|#    | 1/10 [00:00<00:01,  9.0it/s]')\nfail()\n",
        "ValueError: it",
        2,
    ),
    "colors": (
        "import sys, traceback\ndef hook(kind, e, tb):\n"
        "    text = ''.join(traceback.format_exception(e)).replace('ValueError', '\\033[1;35mValueError\\033[0m')\n"
        "    sys.stderr.write(text.replace('train.py', '\\033[35mtrain.py\\033[0m'))\nsys.excepthook = hook\n"
        + FAIL
        + "fail()\n",
        "ValueError: it",
        7,
    ),
    "rich": (
        "from rich.traceback import install\ninstall()\n" + FAIL + "fail()\n",
        "ValueError: it",
        4,
    ),
    "rich, chained": (
        "from rich.traceback import install\ninstall(show_locals=True)\n"
        + FAIL
        + "try:\n    fail()\nexcept ValueError:\n"
        "    {}['no']\n",
        "KeyError: 'no'",
        8,
    ),
    "hydra": (
        FAIL + "import sys, traceback\ntry:\n    fail()\nexcept ValueError:\n"
        "    sys.stderr.write(\"Error executing job with overrides: ['a=1']\\n\")\n    traceback.print_exc()\n"
        "    sys.stderr.write('\\nSet the environment variable HYDRA_FULL_ERROR=1 for a complete stack trace.\\n')\n"
        "    sys.exit(1)\n",
        "ValueError: it",
        2,
    ),
    "an interrupt": ("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n", "KeyboardInterrupt", 2),
    "a crash": (
        "import faulthandler, ctypes\nfaulthandler.enable()\ndef f():\n    ctypes.string_at(0)\nf()\n",
        "Fatal Python error: Segmentation fault",
        4,
    ),
    "an abort": (
        "import faulthandler, os\nfaulthandler.enable()\ndef f():\n    os.abort()\nf()\n",
        "Fatal Python error: Aborted",
        4,
    ),
}


@pytest.mark.parametrize("case", sampled(CAUGHT, every=3))
def test_the_exception_that_ended_it(path: Path, case: str) -> None:
    source, exception, line = CAUGHT[case]
    known = ended(path, source)
    assert known.exception == exception or (exception is None and known.exception), known
    assert known.where == f"{path}:{line}", known
    assert not known.last_line


BOXES = """
import sys
from rich.console import Console
from rich.traceback import Traceback
for path in sys.argv[1:]:
    try:
        exec(compile(open(path).read(), path, "exec"), {})
    except ValueError as error:
        Console(width=80, file=sys.stdout).print(Traceback.from_exception(type(error), error, error.__traceback__))
    print("-- next")
"""


def test_a_path_of_any_length_in_a_box_of_rich(tmp_path: Path) -> None:
    """It breaks long lines, and a frame's line at the space before its function."""
    paths = [tmp_path / ("a" * length) for length in range(1, 100)]
    for path in paths:
        path.write_text(f"{FAIL}fail()\n")
    words = [sys.executable, "-c", BOXES, *map(str, paths)]
    texts = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout.split("-- next\n")
    for path, text in zip(paths, texts, strict=False):
        (block,) = blocks(plain(text))
        assert (*block.frames[-1], block.message) == (f"{path}:2", "fail", ("ValueError: it",))


IN_COLOR = product(["notes", "chained", "group", "syntax", "a child that failed", "one of a pool"], VERSIONS)


@pytest.mark.parametrize(("case", "version"), sampled(IN_COLOR, every=5))
def test_every_python_in_color(path: Path, case: str, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    python = find(version)
    if python is None:
        pytest.skip(f"there is no Python {version} here")
    monkeypatch.setenv("FORCE_COLOR", "1")  # since 3.13 tracebacks have colors
    source, exception, line = CAUGHT[case]
    known = ended(path, source, python=str(python))
    assert (known.exception, known.where) == (exception, f"{path}:{line}")


TORCH = (
    "import os, torch\nfrom torch import distributed as d\nfrom torch.utils.data import DataLoader\nclass Data:\n"
    "    def __len__(self): return 2\n    def __getitem__(self, i):\n        raise ValueError('bad\\nsample')\n"
    "d.init_process_group('gloo', store=d.HashStore(), rank=0, world_size=1)\n"
)


@pytest.mark.exhaustive
@needs_torch
def test_marked_by_torch(path: Path) -> None:
    later = "import atexit, sys\natexit.register(lambda: print('a last word', file=sys.stderr))\n"
    known = ended(path, f"{TORCH}{later}torch.ones(2).view(3) if os.getpid() else 0\n")
    assert (known.exception, known.where) == (
        "RuntimeError: shape '[3]' is invalid for input of size 2",
        f"{path}:11",
    )


@needs_torch
@pytest.mark.exhaustive
def test_in_a_worker_of_a_data_loader(path: Path) -> None:
    known = ended(path, f"{TORCH}next(iter(DataLoader(Data(), num_workers=1)))\n")
    assert known.exception.startswith("ValueError: Caught ValueError in DataLoader worker process 0.\n")
    assert known.exception.endswith("ValueError: bad\nsample")
    assert known.where == f"{path}:7"


@needs_torch
@pytest.mark.exhaustive
def test_in_a_process_that_torch_spawned(path: Path) -> None:
    source = "from torch.multiprocessing import spawn\ndef f(i):\n    raise ValueError('it')\n"
    known = ended(path, f"{source}if __name__ == '__main__':\n    spawn(f)\n")
    assert (known.exception, known.where) == ("ValueError: it", f"{path}:3")


@pytest.mark.exhaustive
@needs_torch
def test_a_launch_in_a_launch(path: Path) -> None:
    source = "import sys\nfrom torch.distributed.run import main\nif len(sys.argv) > 1:\n    raise ValueError('it')\n"
    known = ended(path, f"{source}main(['--nproc_per_node=1', __file__, 'rank'])\n")
    first, *rest = known.exception.splitlines()
    assert first.startswith("torch.distributed.elastic.multiprocessing.errors.ChildFailedError:")
    assert any("train.py FAILED" in line for line in rest)


PRINTED = FAIL + "import os, sys, traceback\ntry:\n    fail()\nexcept ValueError:\n    traceback.print_exc()\n"
LATER = "for step in range(300):\n    print('step', step, file=sys.stderr)\n"
UNCONFIRMED = {
    "handled, then an exit": (PRINTED + LATER + "sys.exit(1)\n", "step 299"),
    "handled in a function, then a line and an exit": (
        FAIL + "import sys, traceback\ndef main():\n    try:\n        fail()\n    except ValueError:\n"
        "        traceback.print_exc()\nmain()\nsys.exit('no data')\n",
        "no data",
    ),
    "handled, then another status": (PRINTED + "sys.exit(7)\n", "ValueError: it"),
    "handled, then a crash": (PRINTED + "os.kill(os.getpid(), 11)\n", "ValueError: it"),
    "handled, then killed": (PRINTED + "os.kill(os.getpid(), 9)\n", ""),
    "a thread's": (
        FAIL + "import sys, threading\nt = threading.Thread(target=fail)\nt.start()\nt.join()\nsys.exit(1)\n",
        None,
    ),
    "a child's": (
        FAIL
        + "import sys, multiprocessing\nc = multiprocessing.get_context('fork').Process(target=fail)\nc.start()\n"
        "c.join()\nsys.exit(1)\n",
        None,
    ),
    "a destructor's": (
        "import sys\nclass X:\n    def __del__(self):\n        1 / 0\nX()\nsys.exit(1)\n",
        None,
    ),
    "an exit with a text": ("import sys\nsys.exit('no data in /data')\n", "no data in /data"),
    "wrong arguments": (
        "import argparse\np = argparse.ArgumentParser(prog='train')\np.add_argument('--x', required=True)\np.parse_args([])\n",
        "train: error: the following arguments are required: --x",
    ),
    "a fault handler's dump without a crash": (
        (
            "import faulthandler, sys\nfaulthandler.dump_traceback()\nprint('Fatal Python error: Segmentation fault', "
            "file=sys.stderr)\nsys.exit(1)\n"
        ),
        "Fatal Python error: Segmentation fault",
    ),
    "another crash than the one printed": (
        "import os, sys\nprint('Fatal Python error: Segmentation fault\\n', file=sys.stderr)\nos.kill(os.getpid(), 8)\n",
        "Fatal Python error: Segmentation fault",
    ),
    "only words": (
        (
            "import sys\nprint('Traceback (most recent call last):\\n  File \"x\", line 1, in <module>\\nand then', "
            "file=sys.stderr)\nsys.exit(1)\n"
        ),
        "and then",
    ),
}


@pytest.mark.parametrize("case", UNCONFIRMED)
def test_what_status_and_output_dont_confirm_is_not_claimed(path: Path, case: str) -> None:
    source, last_line = UNCONFIRMED[case]
    known = ended(path, source)
    assert (known.exception, known.where, known.traceback) == ("", "", "")
    assert last_line is None or known.last_line == last_line


# Random output.

FRAMES = '  File "/u/train.py", line 3, in <module>\n    main()\n  File "/u/model.py", line 8, in main\n    f()\n'
IN_A_FUNCTION = '  File "/u/model.py", line 8, in main\n    f()\n'
HEADS = ("Traceback (most recent call last):\n", "  + Exception Group Traceback (most recent call last):\n")
PIECES = (
    *HEADS,
    FRAMES,
    IN_A_FUNCTION,
    "ValueError: it\n",
    "KeyboardInterrupt\n",
    "  | ExceptionGroup: so (1 sub-exception)\n",
    "    | KeyError: 'x'\n    +----\n",
    "╭──── Traceback (most recent call last) ────╮\n",
    "│ /u/x.py:3 in <module> │\n│  │\n",
    "╰────╯\n",
    "\nDuring handling of the above exception, another exception occurred:\n\n",
    "Fatal Python error: Segmentation fault\n\n",
    'Current thread 0x01 (most recent call first):\n  File "/u/x.py", line 1 in f\n',
    "terminate called after throwing an instance of 'c10::Error'\n  what():  so\n",
    '  File "/u/x.py", line 1\n    x = (\nSyntaxError: so\n',
    "Exception in thread Thread-1:\n",
    "[rank0]: ",
    "\x1b[31m",
    "\x1b]0;title\x07",
    "\x1b]",
    "\r 10%|#  | 1/10 [00:00<00:01]",
    "[W1128 12:00:00.1 x.cpp:1] Warning: so\n",
    "\x00\xff\u2028\x85\x9b2J",
    "step 1\n",
    "\n",
    "  indented\n",
)
STATUSES = ((1, 0), (0, 0), (7, 0), (2, 0), (143, 15), (130, 2), (137, 9), (139, 11), (134, 6), (136, 8))
ERRORS = ("", "{}", "[]", '{"message": {"message": [], "extraInfo": 3}}', '{"message": "so"}', "\x00", "[" * 9999)


def one_mixture(chance: random.Random) -> None:
    text = "".join(chance.choice(PIECES) for _piece in range(chance.randrange(30)))
    if chance.random() < 0.5:
        letters = list(text)
        for _change in range(chance.randrange(20)):
            letters.insert(
                chance.randrange(len(letters) + 1), chr(chance.choice((27, 13, 10, 32, 34, 91, 93, 0x202E, 300)))
            )
        text = "".join(letters)[chance.randrange(50) :]
    status, number = chance.choice(STATUSES)
    error = chance.choice(ERRORS)
    known = found(
        Output(text, 10.0, chance.choice((10.0, 99.0))), status, number, error, since=chance.choice((0.0, 50.0))
    )
    for claim in (known.exception, known.where, known.last_line):
        assert all(line.isprintable() for line in claim.split("\n")), claim
    told = error in ERRORS[3:5] and not number  # the first as Python writes it
    possible = (status == 1 and not number) or number in (2, 15, 6, 8, 11)
    assert possible or told or not known.exception, known
    assert not known.traceback or number in (0, 2, 15)
    if number in (8, 11):
        assert not known.exception or known.exception.startswith("Fatal"), known


def one_story(chance: random.Random) -> None:
    """Exceptions that were handled, and one that wasn't: that one is known, and none of the others."""
    handled = [
        HEADS[0] + chance.choice((FRAMES, IN_A_FUNCTION)) + f"KeyError: {n}\n" for n in range(chance.randrange(4))
    ]
    steps = ["".join(f"step {n}\n" for n in range(chance.randrange(30, 60))) for _part in handled]
    before = "".join(part for pair in zip(handled, steps, strict=True) for part in pair)
    noise = chance.choice(
        ("", "\n", "sys:1: UserWarning: so\n", "[W1128 12:00:00.1 x.cpp:1] Warning: so\n", "wandb: so\n")
    )
    message = chance.choice(("it", "it\nand so on", "it\n\n\ton", "x" * 900, "a\n" * 20 + "b"))
    uncaught = HEADS[0] + FRAMES + f"ValueError: {message}\n"
    marked = chance.random() < 0.3
    if marked:
        uncaught = "".join(
            f"[rank3]: {line}" if line.strip() else line for line in uncaught.splitlines(keepends=True)
        )
    status, number = chance.choice(STATUSES)
    output = Output(before + uncaught + noise, 10.0, 10.0)
    known = found(output, status, number, since=0.0)
    if (status, number) == (1, 0) or (number == 15 and (marked or "\n" not in message)):
        plain = f"ValueError: {message}".expandtabs(4)
        assert (known.exception, known.where) == (plain, "/u/model.py:8"), known
    elif number != signal.SIGTERM:
        assert (known.exception, known.where, known.traceback) == ("", "", "")
    only_handled = found(Output(before, 10.0, 10.0), status, number, since=0.0)
    assert (only_handled.exception, only_handled.where) == ("", ""), only_handled


@pytest.mark.fuzz
@pytest.mark.parametrize("one_round", [one_mixture, one_story])
def test_random_output_raises_nothing_and_confirms_nothing(one_round: Callable[[random.Random], None]) -> None:
    fuzz(one_round, seconds=30)
