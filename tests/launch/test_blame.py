"""A rank that has handled an exception and works on isn't blamed for another rank's failure, which terminates it."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from accel_launch.running.report.evidence import catching
from accel_launch.running.report.evidence.blocks import blocks
from accel_launch.running.report.evidence.lines import plain
from tests.conftest import Run
from tests.fuzzing import fuzz
from tests.launch.processes import Script
from tests.launch.test_terminal import Shown
from tests.schedule import sampled

N2 = ("--cpu", "--num_processes", "2")
ME = "import atexit, logging, os, subprocess, sys, time, traceback\nrank = os.environ['RANK']\n"
FAIL = "def fail():\n    raise ValueError('handled')\n"
HANDLED = {
    "logged": "    try:\n        open('/nonexistent/cache')\n    except OSError:\n        logging.exception('no cache')\n",
    "printed": "    try:\n        fail()\n    except ValueError:\n        traceback.print_exc()\n",
    "of several kinds": (
        "    try:\n        fail()\n    except (KeyError, ValueError) as error:\n        traceback.print_exception(error)\n"
    ),
    "deep": (
        "    for _try in range(2):\n        with open(os.devnull):\n            try:\n                fail()\n"
        "            except Exception:\n                sys.excepthook(*sys.exc_info())\n"
    ),
    "or raised again": (
        "    try:\n        fail()\n    except ValueError:\n        if sys.argv[1:]: raise\n        traceback.print_exc()\n"
    ),
    "by a context": (
        "    class Printing:\n        def __enter__(self): pass\n        def __exit__(self, *error):\n"
        "            traceback.print_exception(*error)\n            return True\n    with Printing():\n        fail()\n"
    ),
    "as a group": "    try:\n        fail()\n    except* ValueError:\n        traceback.print_exc()\n",
    "in a script that was changed": (
        "    try:\n        fail()\n    except ValueError:\n        traceback.print_exc()\n"
        "    lines = open(__file__).read()\n    open(__file__, 'w').write('\\n' * 30 + lines)\n"
    ),
    "a child's": "    subprocess.run([sys.executable, '-c', '1/0'])\n",
    "a child's script": "    open('child.py', 'w').write('1/0')\n    subprocess.run([sys.executable, 'child.py'])\n",
}
SLEEP = "    time.sleep(60)\n"
ON_TERM = "    import signal\n    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))\n"
REAL = "time.sleep(1)\n"
ENDS = {
    "raise RuntimeError('shape mismatch')": "  exception: RuntimeError: shape mismatch\n",
    "sys.exit('no data')": "  last line: no data\n",
    "sys.exit(1)": "  cause: exit status 1\n",
    "os._exit(1)": "  cause: exit status 1\n",
}


def handled(how: str, end: str, more: str = "") -> str:
    return f"{ME}{FAIL}if rank == '0':\n{more}{HANDLED[how]}{SLEEP}{REAL}{end}\n"


def blamed(accelerate: Run, path: Path, *flags: str, cwd: Path) -> dict[str, str]:
    """The failure of a launch, which is rank 1's; of rank 0 nothing is claimed."""
    done = accelerate("launch", *N2, *flags, "--quiet", "--report", cwd / "report.json", path, cwd=cwd)
    told = json.loads((cwd / "report.json").read_text())
    assert told["failure"]["rank"] == 1, done.stderr
    assert told["failure"]["cause"] == "exit status 1"
    assert told["also_raised"] == []
    return {"report": done.stderr.rpartition("accel: rank 1 (")[2], **told["failure"]}


@pytest.mark.parametrize("more", ["", ON_TERM], ids=["terminated", "exits after SIGTERM"])
@pytest.mark.parametrize("how", sampled(HANDLED, every=6))
def test_a_handled_exception_takes_no_blame(
    accelerate: Run, script: Script, tmp_path: Path, how: str, more: str
) -> None:
    end, said = next(iter(ENDS.items()))
    assert said in blamed(accelerate, script(handled(how, end, more)), cwd=tmp_path)["report"]


@pytest.mark.parametrize("end", sampled(ENDS, every=3))
@pytest.mark.parametrize("how", sampled(["logged", "printed"], every=2))
def test_however_the_other_rank_fails(accelerate: Run, script: Script, tmp_path: Path, how: str, end: str) -> None:
    found = blamed(accelerate, script(handled(how, end)), cwd=tmp_path)
    assert ENDS[end] in found["report"]
    assert bool(found["exception"]) == ("raise" in end)


@pytest.mark.exhaustive
@pytest.mark.parametrize("how", ["logged", "printed"])
def test_nor_if_the_other_has_lost_a_connection(accelerate: Run, script: Script, tmp_path: Path, how: str) -> None:
    found = blamed(accelerate, script(handled(how, "raise ConnectionError('the store')")), cwd=tmp_path)
    assert found["exception"] == "ConnectionError: the store"


@pytest.mark.exhaustive
def test_nor_after_a_restart(accelerate: Run, script: Script, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    path = script(handled("logged", "raise RuntimeError('shape mismatch')"))
    found = blamed(accelerate, path, "--max_restarts", "1", cwd=tmp_path)
    assert found["exception"] == "RuntimeError: shape mismatch"


def test_on_a_terminal_the_real_traceback_is_shown(environ: dict[str, str], script: Script, tmp_path: Path) -> None:
    path = script(handled("logged", "raise RuntimeError('shape mismatch')"))
    shown = Shown(environ, *N2, "--quiet", path, cwd=tmp_path).end()
    assert shown.count("Traceback (most recent call last):") == 2
    assert "\nRuntimeError: shape mismatch\n" in shown
    assert "also raised" not in shown


@pytest.mark.exhaustive
def test_a_handled_one_that_was_held_back_is_shown(environ: dict[str, str], script: Script, tmp_path: Path) -> None:
    """It isn't what another rank's failure made of it."""
    source = handled("printed", "raise RuntimeError('shape mismatch')").replace(
        "if rank == '0':\n", "if rank != '1':\n", 1
    )
    shown = Shown(environ, "--cpu", "--num_processes", "3", "--quiet", script(source), cwd=tmp_path).end()
    assert shown.count("ValueError: handled\n") == 2
    assert "also raised" not in shown


def test_from_python(script: Script, tmp_path: Path, environ: dict[str, str]) -> None:
    path = script(handled("logged", "raise RuntimeError('shape mismatch')"))
    source = (
        f"import accel_launch\nresult = accel_launch.launch({str(path)!r}, num_processes=2, cpu=True)\n"
        "print(result.failure.ending.rank, result.failure.exception, result.also_raised)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", source], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "1 RuntimeError: shape mismatch ()\n", done.stderr


@pytest.mark.exhaustive
def test_a_function_from_python(tmp_path: Path, script: Script, environ: dict[str, str]) -> None:
    (tmp_path / "work.py").write_text(
        f"{ME.replace(chr(10) + 'rank', chr(10) + '#')}def work():\n    if os.environ['RANK'] == '0':\n"
        "        try:\n            open('/nonexistent/cache')\n        except OSError:\n"
        "            logging.exception('no cache')\n        time.sleep(60)\n"
        "    time.sleep(1)\n    raise RuntimeError('shape mismatch')\n"
    )
    path = script(
        "import accel_launch, work\ntry:\n    accel_launch.launch(work.work, num_processes=2, cpu=True)\n"
        "except accel_launch.LaunchError as error:\n    print(error.rank, error.result.failure.exception)\n"
    )
    done = subprocess.run(
        [sys.executable, path], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "1 RuntimeError: shape mismatch\n", done.stderr


@pytest.mark.parametrize(
    "victim", sampled(["raise ConnectionError('victim')", "raise KeyError('its own')", "sys.exit(1)"], every=3)
)
def test_who_raises_first_and_cleans_up_is_to_blame(accelerate: Run, script: Script, victim: str) -> None:
    """What nothing in the script can have caught ended its rank, whatever the rank that died first says."""
    path = script(
        f"{ME}{FAIL}if rank == '0':\n    atexit.register(time.sleep, 30)\n    try:\n        fail()\n"
        f"    except KeyError:\n        pass\n{REAL}{victim}\n"
    )
    report = accelerate("launch", *N2, "--quiet", path).stderr.rpartition("accel: ")[2]
    assert report.startswith("rank 0 (")
    assert (
        "cause: an uncaught exception; terminated while it cleaned up\n  exception: ValueError: handled\n" in report
    )


@pytest.mark.parametrize("more", ["", "(KeyError, OSError)", "KeyboardInterrupt"])
def test_a_message_of_several_lines_stays_whole(accelerate: Run, script: Script, more: str) -> None:
    """Where only handlers of other exceptions are around."""
    body = "raise RuntimeError('one\\ntwo\\nthree')"
    path = script(f"try:\n    {body}\nexcept {more}:\n    pass\n" if more else f"{body}\n")
    assert "  exception: RuntimeError: one\n    two\n    three\n" in accelerate("launch", *N2, path).stderr


@pytest.mark.exhaustive
@pytest.mark.parametrize("wait", ["0", "0.5"])
def test_an_exits_text_is_no_line_of_a_handled_exception(
    accelerate: Run, script: Script, tmp_path: Path, wait: str
) -> None:
    end = f"fail_once()\ntime.sleep({wait})\nsys.exit('no data left in /data/shard-1')"
    source = handled("printed", end).replace(
        "fail_once()", "try:\n    fail()\nexcept ValueError:\n    traceback.print_exc()"
    )
    found = blamed(accelerate, script(source), cwd=tmp_path)
    assert (found["exception"], found["where"]) == (None, None)
    assert found["last_line"] == "no data left in /data/shard-1"


@pytest.mark.exhaustive
def test_an_exception_handled_long_before_a_silent_exit(accelerate: Run, script: Script, tmp_path: Path) -> None:
    end = "try:\n    fail()\nexcept ValueError:\n    traceback.print_exc()\ntime.sleep(4)\nsys.exit(1)"
    found = blamed(accelerate, script(handled("logged", end)), cwd=tmp_path)
    assert found["exception"] is None


# Random scripts, whose truth is what Python does.

KINDS = ("ValueError", "KeyError", "LookupError", "OSError", "ConnectionError", "Exception", "BaseException", "Own")
RAISED = ("ValueError", "KeyError", "ConnectionError", "Own", "KeyboardInterrupt")
SCRIPT = (
    "import contextlib, traceback\nclass Own(LookupError): pass\nclass Quiet:\n    def __enter__(self): pass\n"
    "    def __exit__(self, *error):\n        if error[0]: printed.append(''.join(traceback.format_exception(*error)))\n"
    "        return True\ndef fail(kind):\n    raise kind('it')\n"
)


def body(chance: random.Random, depth: int) -> list[str]:
    """Statements that raise, with or without something around them that handles it."""
    deeper = [f"    {line}" for line in body(chance, depth - 1)] if depth else []
    way = chance.randrange(8) if depth else 7
    if way == 0:
        return ["for _once in range(1):", *deeper]
    if way == 1:
        return [chance.choice(("with contextlib.nullcontext():", "with Quiet():")), *deeper]
    if way < 7:
        kinds = ", ".join(chance.sample(KINDS, chance.randrange(1, 4)))
        star = chance.random() < 0.1 and "Base" not in kinds
        head = chance.choice((f"except ({kinds}):", f"except {kinds.split(',')[0]}:"))
        last = chance.choice(("pass", "pass", "pass", "raise", "raise OSError('another')", *(["1 / 0"])))
        head = head.replace("except", "except*") if star else head
        after = ["finally:", "    pass"] if chance.random() < 0.3 else []
        return ["try:", *deeper, head, "    printed.append(traceback.format_exc())", f"    {last}", *after]
    return [f"fail({chance.choice(RAISED)})"]


def fate(text: str, path: Path) -> str:
    lines = plain(text)
    known = blocks(lines)  # none of a group that has no traceback of its own
    return catching.fate(known[-1], lines, ("python", str(path)), 0.0) if known else ""


@pytest.mark.fuzz
def test_random_scripts_are_read_as_python_runs_them(tmp_path: Path) -> None:
    path = tmp_path / "train.py"

    def one_script(chance: random.Random) -> None:
        source = "\n".join(
            [SCRIPT, *(line for _part in range(chance.randrange(1, 4)) for line in body(chance, chance.randrange(5)))]
        )
        path.write_text(source)
        printed: list[str] = []
        try:
            exec(compile(source, path, "exec"), {"printed": printed, "__name__": "__main__"})  # noqa: S102
        except BaseException as error:
            own = error.__traceback__.tb_next if error.__traceback__ else None
            uncaught = "".join(traceback.format_exception(type(error), error, own))
        else:
            uncaught = ""
        if uncaught:
            assert fate(uncaught, path) != catching.HANDLED, f"{source}\n{uncaught}"
        for text in printed:
            assert fate(text, path) != catching.UNCAUGHT, f"{source}\n{text}"

    fuzz(one_script, seconds=20)


@pytest.mark.parametrize(
    "text",
    sampled(
        ["'x' * 3_000_000", "'x' * 70_000", "'y\\n' + ' x\\n' * 1_000_000", "'y' * 1_000_000 + '\\nend'"], every=3
    ),
)
def test_a_message_of_megabytes_has_its_head_and_its_place(accelerate: Run, script: Script, text: str) -> None:
    path = script(f"def f():\n    raise ValueError('big: ' + {text})\nf()\n")
    done = accelerate("launch", *N2, "--filter_ranks", "0", path)
    report = done.stderr[done.stderr.rindex("failed first") :]
    assert "  exception: ValueError: big: " in report
    assert f"  at: {path}:2\n" in report
    assert len(report) < 200_000


@pytest.mark.exhaustive
def test_a_long_output_after_a_traceback_is_no_message(accelerate: Run, script: Script) -> None:
    later = "for step in range(300_000):\n    print('step', step, file=sys.stderr)\nsys.exit(1)\n"
    printing = "import sys, traceback\ndef f():\n    try:\n        1 / 0\n    except Exception:\n        raise\n"
    run = "try:\n    f()\nexcept Exception:\n    traceback.print_exc()\n"
    done = accelerate("launch", *N2, "--filter_ranks", "0", script(printing + run + later))
    assert "  last line: step 299999\n" in done.stderr
    assert "  exception: " not in done.stderr
