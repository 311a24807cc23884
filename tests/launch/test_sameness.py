"""What launchers report of their machines, and what the main one makes of the differences."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from accel_launch.ranks import parent
from accel_launch.running.lifeline.hub import comparison
from accel_launch.running.lifeline.hub.hub import Hub
from accel_launch.running.lifeline.member.member import Member
from accel_launch.running.lifeline.member.portrayal import Portrayal
from accel_launch.running.lifeline.messages import FACT, FROM_MEMBER, MOST_FACTS, kind_of
from accel_launch.running.lifeline.sameness import code, libraries, variables
from accel_launch.running.lifeline.sameness.portrait import CUT, portrait
from accel_launch.running.lifeline.sameness.rules import differences
from accel_launch.running.lifeline.sameness.subject import Subject
from tests.launch.test_lifeline import SECRET, Machines

USUAL = {
    "python": "3.11.9",
    "torch": "2.9.1+cu128",
    "cuda": "12.8",
    "driver": "570.86.10",
    "launcher": "0.1.0",
    "on": "GPU",
    "devices": "8 NVIDIA H100 80GB HBM3",
    "script": "aaaa11112222",
    "arguments": "--lr 0.1",
    "clock": "0",
    "limit open files": "1048576",
    "limit locked memory": "unlimited",
    "limit shared memory": str(64 << 30),
    "setting mixed_precision": "bf16",
    "library transformers": "4.57.0",
    "library nvidia_nccl_cu12": "2.27.3",
    "variable NCCL_ALGO": "Ring",
    "variable HF_TOKEN": "secret with hash 0123456789ab",
    "module model.py": "bbbb11112222",
}
# What another machine has, its kind, whether it is refused, and the line about it; machine 0 is as usual.
SEEDED: tuple[tuple[dict[str, str | None], str, bool, str], ...] = (
    ({"torch": "2.8.0+cu128"}, "torch", True, "torch: 2.9.1+cu128 on machines 0, 2; 2.8.0+cu128 on"),
    ({"torch": None}, "torch", True, "torch: 2.9.1+cu128 on machines 0, 2; not installed on"),
    ({"torch": "3.9.1"}, "torch", True, "torch: 2.9.1+cu128 on machines 0, 2; 3.9.1 on"),
    ({"torch": "2.9.0+cu128"}, "torch", False, "torch: 2.9.1+cu128 on machines 0, 2; 2.9.0+cu128 on"),
    ({"torch": "2.9.1+cpu"}, "torch", False, "torch: 2.9.1+cu128 on machines 0, 2; 2.9.1+cpu on"),
    ({"cuda": "13.0"}, "torch", False, "torch's CUDA: 12.8 on machines 0, 2; 13.0 on"),
    ({"cuda": None}, "torch", False, "torch's CUDA: 12.8 on machines 0, 2; none on"),
    ({"python": "3.12.1"}, "python", False, "Python: 3.11.9 on machines 0, 2; 3.12.1 on"),
    ({"driver": "535.1"}, "driver", False, "the driver of the GPUs: 570.86.10 on machines 0, 2; 535.1 on"),
    ({"launcher": "0.2.0"}, "launcher", False, "accel-launch: 0.1.0 on machines 0, 2; 0.2.0 on"),
    ({"on": "CPU"}, "devices", True, "the ranks' devices: GPU on machines 0, 2; CPU on"),
    ({"on": "NPU"}, "devices", True, "the ranks' devices: GPU on machines 0, 2; NPU on"),
    ({"devices": "7 NVIDIA H100 80GB HBM3"}, "devices", False, "7 NVIDIA H100 80GB HBM3 on"),
    (
        {"devices": "8 NVIDIA A100"},
        "devices",
        False,
        "visible devices: 8 NVIDIA H100 80GB HBM3 on machines 0, 2; 8 NVI",
    ),
    ({"devices": None}, "devices", False, "none on"),
    ({"script": "cccc11112222"}, "script", False, "the script: digest aaaa1111 on machines 0, 2; digest cccc1111 on"),
    ({"script": "missing"}, "script", True, "the script: digest aaaa1111 on machines 0, 2; missing on"),
    (
        {"module model.py": "dddd11112222"},
        "script",
        False,
        "model.py: digest bbbb1111 on machines 0, 2; digest dddd1",
    ),
    ({"module model.py": None}, "script", False, "model.py: digest bbbb1111 on machines 0, 2; missing on"),
    ({"module more.py": "eeee11112222"}, "script", False, "more.py: missing on machines 0, 2; digest eeee1111 on"),
    ({"arguments": "--lr 0.2"}, "arguments", False, "the script's arguments: --lr 0.1 on machines 0, 2; --lr 0.2 on"),
    ({"clock": "-12.34"}, "clock", False, "the clock: right on machines 0, 2; 12.3 s ahead on"),
    ({"clock": "3600"}, "clock", False, "the clock: right on machines 0, 2; 3600.0 s behind on"),
    ({"limit open files": "1024"}, "limits", False, "open files (ulimit -n): 1048576 on machines 0, 2; 1024 on"),
    (
        {"limit locked memory": "65536"},
        "limits",
        False,
        "locked memory (ulimit -l): unlimited on machines 0, 2; 64 KiB",
    ),
    ({"limit shared memory": str(64 << 20)}, "limits", False, "size of /dev/shm: 64 GiB on machines 0, 2; 64 MiB on"),
    ({"setting mixed_precision": None}, "settings", False, "mixed_precision: bf16 on machines 0, 2; not set on"),
    ({"setting fsdp_version": "2"}, "settings", False, "fsdp_version: not set on machines 0, 2; 2 on"),
    ({"library transformers": "4.40.0"}, "libraries", False, "transformers: 4.57.0 on machines 0, 2; 4.40.0 on"),
    ({"library nvidia_nccl_cu12": "2.21.5"}, "libraries", False, "nvidia-nccl-cu12: 2.27.3 on machines 0, 2; 2.21.5"),
    ({"library peft": "0.18.0"}, "libraries", False, "peft: not installed on machines 0, 2; 0.18.0 on"),
    ({"variable NCCL_ALGO": "Tree"}, "variables", False, "NCCL_ALGO: Ring on machines 0, 2; Tree on"),
    ({"variable OMP_NUM_THREADS": "4"}, "variables", False, "OMP_NUM_THREADS: not set on machines 0, 2; 4 on"),
    (
        {"variable HF_TOKEN": "secret with hash ba9876543210"},
        "variables",
        False,
        "HF_TOKEN: secret with hash 012345678",
    ),
)
HOSTS = {1: "node-b"}


def other(changed: dict[str, str | None]) -> dict[str, str]:
    return {name: text for name, text in {**USUAL, **changed}.items() if text is not None}


@pytest.mark.parametrize(("changed", "kind", "refused", "line"), SEEDED, ids=lambda value: str(value)[:40])
def test_each_difference_is_named(changed: dict[str, str | None], kind: str, refused: bool, line: str) -> None:
    portraits = {0: USUAL, 1: other(changed), 2: USUAL}
    (found,) = differences(portraits, ())
    assert (found.kind, found.refused) == (kind, refused)
    assert found.apart == ((1,) if refused else ())
    assert line in found.text(HOSTS)
    assert found.text(HOSTS).endswith("on machine 1 (host node-b)")
    for allowed in (kind, "all"):  # what is allowed is silent, or a note where it would have been refused
        left = differences(portraits, (allowed,))
        assert [one.refused for one in left] == ([False] if refused else [])
    assert differences(portraits, ("clock" if kind != "clock" else "torch",)) == [found]


def test_what_does_not_matter_is_no_difference() -> None:
    alike = {"clock": "0.4", "limit shared memory": str(80 << 30)}
    assert differences({0: USUAL, 1: {**USUAL, **alike}}, ()) == []
    cut = {name: text for name, text in USUAL.items() if not name.startswith("module")}
    assert differences({0: USUAL, 1: {**cut, CUT: "yes"}}, ()) == []


def test_equal_machines_are_grouped_and_many_modules_are_counted() -> None:
    old = {**USUAL, "torch": "2.4.0"}
    (found,) = differences({0: USUAL, 1: old, 2: USUAL, **dict.fromkeys(range(3, 8), old)}, ())
    assert found.text({}) == "torch: 2.9.1+cu128 on machines 0, 2; 2.4.0 on machines 1, 3-7"
    assert found.apart == (1, 3, 4, 5, 6, 7)
    several = {n: {**USUAL, "torch": f"2.9.{n}"} for n in range(8)}
    assert differences(several, ())[0].text({}).endswith("2.9.3 on machine 3; and 4 more values")
    files = {**USUAL, **{f"module m{n}.py": "x" for n in range(9)}}
    assert [one.name for one in differences({0: USUAL, 1: files}, ())] == [
        *("m0.py", "m1.py", "m2.py"),
        "6 more modules, such as m3.py",
    ]


# What is reported.


def test_a_portrait_is_a_message_and_holds_what_planning_does_not_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    for name in (
        "torch-2.4.0.dist-info",
        "Safetensors-0.6.1.dist-info",
        "trl-0.9-py3.11.egg-info",
        "other-1.dist-info",
    ):
        (tmp_path / name).mkdir()
    (tmp_path / "train.py").write_text("import model\n")
    (tmp_path / "model.py").write_text("pass\n")
    for name in [name for name in os.environ if name.startswith(variables.FAMILIES)]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NCCL_DEBUG", "\x1b[2J" + "x" * 999)
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefghijklmnop")
    subject = Subject(sys.executable, ("train.py", "--token", "abc", "--lr", "1"), folder=str(tmp_path))
    facts = portrait(subject.replace(settings={"fsdp_version": "2"}, devices=("A", "B", "A")), SECRET)
    assert kind_of(FROM_MEMBER, {"kind": "portrait", "facts": facts}) == "portrait"
    assert facts["torch"] == "2.4.0"
    assert facts["library safetensors"] == "0.6.1"
    assert facts["library trl"] == "0.9"
    assert "library other" not in facts
    assert facts["python"] == ".".join(map(str, sys.version_info[:3]))
    assert facts["devices"] == "2 A, 1 B"
    assert facts["arguments"] == "--token *** --lr 1"
    assert facts["setting fsdp_version"] == "2"
    assert facts["limit open files"].isdecimal()
    assert facts["module model.py"]
    assert len(facts["variable NCCL_DEBUG"]) <= FACT
    assert "hf_" not in json.dumps(facts)
    monkeypatch.setenv("NCCL_DEBUG", "\x1b[2J" + "x" * 998 + "y")
    assert portrait(subject, SECRET)["variable NCCL_DEBUG"] != facts["variable NCCL_DEBUG"]
    for n in range(MOST_FACTS):
        monkeypatch.setenv(f"NCCL_{n}", "\N{GRINNING FACE}" * 50)
    whole = portrait(subject, SECRET)
    assert whole[CUT]
    assert whole["torch"] == "2.4.0"
    assert len(json.dumps(whole, ensure_ascii=False).encode()) < 15000


def test_secrets_are_hashed_with_the_runs_and_what_is_a_machines_own_is_only_set() -> None:
    environ = {"HF_TOKEN": "abc", "NCCL_SOCKET_IFNAME": "eth7", "HF_HOME": "/x", "NCCL_DEBUG": "INFO", "HOME": "/me"}
    found = variables.portrayed(environ, b"key")
    assert found["HF_TOKEN"] == variables.portrayed(environ, b"key")["HF_TOKEN"]
    assert found["HF_TOKEN"] != variables.portrayed(environ, b"other")["HF_TOKEN"]
    assert found["HF_TOKEN"] != variables.portrayed({"HF_TOKEN": "abd"}, b"key")["HF_TOKEN"]
    assert variables.portrayed(environ, None)["HF_TOKEN"] == f"{variables.SET} (secret)"
    assert {name: text for name, text in found.items() if name != "HF_TOKEN"} == {
        "HF_HOME": "set",
        "NCCL_DEBUG": "INFO",
        "NCCL_SOCKET_IFNAME": "set",
    }


def test_the_modules_of_a_script_are_those_that_it_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)

    write("train.py", "import os, helper\nfrom lib.deep import x\n")
    write("helper.py", "def f():\n    import late\n")
    for name in ("late.py", "lib/__init__.py", "lib/deep.py", "lib/other.py", "unrelated.py"):
        write(name, "pass\n")
    subject = Subject("python3", ("train.py",), folder=str(tmp_path))
    digest, found, complete = code.digests(subject)
    assert complete
    assert sorted(found) == ["helper.py", "late.py", "lib/__init__.py", "lib/deep.py", "lib/other.py"]
    write("lib/other.py", "more\n")
    assert code.digests(subject)[1]["lib/other.py"] != found["lib/other.py"]
    write("train.py", "import helper\n")
    assert code.digests(subject)[0] not in (digest, code.MISSING)
    module = Subject("python3", ("lib.deep",), how="module", folder=str(tmp_path))
    assert sorted(code.digests(module)[1]) == ["lib/__init__.py", "lib/other.py"]
    assert code.digests(subject.replace(words=("none.py",))) == (code.MISSING, {}, True)
    assert code.digests(Subject("python3", ("sh",), how="program"))[0] not in ("", code.MISSING)
    monkeypatch.setattr(code, "MOST_FILES", 2)
    assert len(code.digests(subject)[1]) == 1
    assert portrait(subject, None)[CUT], "a module that wasn't read isn't missing"


def test_the_modules_of_a_project_are_found_around_its_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {
        "me/project/tools/run/train.py": "import net, above, named, inner, here, json, data, other, calls",
        "me/project/net/core.py": "import deeper", "me/project/src/inner/__init__.py": "", "me/project/deeper.py": "",
        "me/project/tools/above/__init__.py": "", "me/lib/named.py": "", "me/cwd/here.py": "", "me/project/json.py": "",
        "me/project/data/values.txt": "", "me/other.py": "", "me/project/.git/HEAD": "", "me/project/tools/src/calls.py": "",
    }  # fmt: skip
    for name, text in made.items():
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("PYTHONPATH", ":../lib")
    subject = Subject("python3", ("../project/tools/run/train.py",), folder=str(tmp_path / "me/cwd"))
    _own, found, complete = code.digests(subject)
    assert complete
    assert sorted(found) == sorted((
        "../../deeper.py", "../../net/core.py", "../../src/inner/__init__.py", "../above/__init__.py", "../src/calls.py",
        "../../../lib/named.py", "../../../cwd/here.py",
    ))  # fmt: skip
    (tmp_path / "me/project/tools/run/.git").write_text("gitdir: elsewhere")  # a project of its own
    assert sorted(code.digests(subject)[1]) == ["../../../cwd/here.py", "../../../lib/named.py"]


def test_another_interpreter_is_read_where_it_is(tmp_path: Path) -> None:
    python = tmp_path / "bin" / "python"
    site = tmp_path / "lib" / "python3.10" / "site-packages"
    for folder in (python.parent, site / "peft-1.2.dist-info", site / "torch"):
        folder.mkdir(parents=True)
    (site / "torch" / "version.py").write_text("__version__ = '2.9.1+rocm'\ncuda: X = None\nhip: X = '6.4'\n")
    assert libraries.python_version(str(python)) == "3.10"
    (tmp_path / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.10.4\n")
    among = libraries.folders(str(python))
    assert libraries.versions(among) == {"peft": "1.2"}
    assert libraries.torch_build(among) == {"__version__": "2.9.1+rocm", "hip": "6.4"}
    assert libraries.python_version(str(python)) == "3.10.4"


# Who is compared, and when ranks may start.


class Silent:
    """Of a launcher that doesn't describe its machine: it only notes what it hears."""

    def __init__(self, before: Portrayal, heard: list[str]) -> None:
        self.free, self.heard = before.free, heard

    def take(self, kind: str, *_more: object) -> None:
        self.heard.append(kind)


class Described(Machines):
    """Launchers whose portraits a test makes."""

    def __init__(self, count: int, **more: Any) -> None:
        """Begin with none."""
        super().__init__(count, **more)
        self.heard: list[str] = []
        """The kinds of messages that came to launchers that don't describe their machines."""

    def begin(self, machine: int, facts: dict[str, str] | None = USUAL, **more: Any) -> Hub | Member:
        """Start one; without facts, of a version that doesn't describe its machine."""
        side = self.start(machine, subject=Subject("python3", (), allowed=more.pop("allowed", ())), **more)
        if isinstance(side, Hub):
            side.reception.comparison.own = facts
        else:
            side.portrayal.facts = facts
            if facts is None:
                side.portrayal = cast("Portrayal", Silent(side.portrayal, self.heard))
        return side


@pytest.fixture
def described() -> Any:
    made: list[Described] = []

    def make(count: int, **more: Any) -> Described:
        made.append(Described(count, **more))
        return made[-1]

    yield make
    for one in made:
        one.close()


Make = Callable[..., Described]


def free(run: Described) -> list[int]:
    return [machine for machine, side in run.sides.items() if side.free]


def notes(run: Described) -> list[str]:
    return [note for note in run.sides[0].notes if "no secret" not in note]


def test_no_rank_starts_before_all_machines_are_compared(described: Make) -> None:
    run = described(3)
    run.begin(0)
    run.begin(1, {**USUAL, "variable NCCL_ALGO": "Tree"})
    assert run.turn(lambda: bool(notes(run)), 10)  # told though one is missing
    assert notes(run) == ["NCCL_ALGO: Ring on machine 0; Tree on machine 1 (host host1)"]
    assert free(run) == []
    run.begin(2, {**USUAL, "variable NCCL_ALGO": "Tree"})
    assert run.turn(lambda: free(run) == [0, 1, 2])
    assert notes(run)[1:] == ["NCCL_ALGO: Ring on machine 0; Tree on machines 1-2"]
    member = run.sides[1]
    assert isinstance(member, Member)
    assert member.connection.link is not None
    member.connection.link.open = False  # a connection that breaks and comes again is compared once
    member.portrayal.free = False
    assert run.turn(lambda: member.free)
    assert len(notes(run)) == 2


def test_a_rank_waits_until_it_may_start_or_nobody_is_left_to_let_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, looks = tmp_path / "gate", list[float]()

    def open_at_the_third_look(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            gate.write_text("x")

    monkeypatch.setattr(time, "sleep", open_at_the_third_look)
    for path in ("", str(gate)):  # without one, and of a launcher that is gone
        parent.wait_for(path)
    assert not looks
    gate.touch()
    parent.wait_for(str(gate))
    assert len(looks) == 3
    gate.write_text("")
    monkeypatch.setattr(parent, "GATE", 0.0)
    parent.wait_for(str(gate))
    assert len(looks) <= 4


def test_a_machine_that_can_not_take_part_ends_the_run_everywhere(described: Make) -> None:
    run = described(3)
    run.begin(0)
    run.begin(1)
    run.begin(2, {**USUAL, "torch": "2.4.0", "on": "CPU"})
    refused = run.sides[2]
    assert isinstance(refused, Member)
    assert run.turn(lambda: bool(refused.refused) and all(side.ending for side in run.sides.values()))
    assert free(run) == []
    why = (
        "torch: 2.9.1+cu128 on machines 0-1; 2.4.0 on machine 2 (host host2); the ranks' devices: GPU on machines 0-1; "
        "CPU on machine 2 (host host2); make the machines the same, or give each --allow_difference torch,devices"
    )
    assert refused.refused == why
    for machine in (0, 1):
        run.sides[machine].over(None)
    assert run.turn(lambda: all(run.sides[machine].first is not None for machine in (0, 1)))
    for machine in (0, 1):
        first = run.sides[machine].first
        assert first is not None
        assert first.unlike
        assert (first.status, first.problem) == (1, f"the machines aren't the same: {why}")


def test_allowed_differences_go_on_with_a_note(described: Make) -> None:
    run = described(2)
    run.begin(0, allowed=("torch", "variables"))
    run.begin(1, {**USUAL, "torch": "2.4.0", "variable NCCL_ALGO": "Tree"})
    assert run.turn(lambda: free(run) == [0, 1])
    assert notes(run) == ["torch: 2.9.1+cu128 on machine 0; 2.4.0 on machine 1 (host host1)"]


def test_an_elastic_run_goes_on_without_a_machine_that_does_not_fit(described: Make) -> None:
    run = described(4, least=2)
    run.begin(0)
    run.begin(1)
    assert run.turn(lambda: free(run) == [0, 1])
    run.begin(2, {**USUAL, "torch": "2.4.0"})
    run.begin(3, {**USUAL, "python": "3.12.0"})
    refused = run.sides[2]
    assert isinstance(refused, Member)
    assert run.turn(lambda: bool(refused.refused) and run.sides[3].free)
    assert not run.turn(lambda: run.sides[0].ending or run.sides[1].ending, 0.5)
    assert not refused.free
    assert min(notes(run)).startswith("Python: 3.11.9 on machines 0-")
    assert any(note.startswith("refused machine 2: torch: 2.9.1+cu128 on ") for note in notes(run))
    assert isinstance(run.sides[0], Hub)
    assert not run.sides[0].roster.lost


@pytest.mark.parametrize("older", [0, 1])
def test_an_older_launcher_is_not_compared_which_is_told(
    described: Make, older: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accel_launch.running.lifeline import link

    real = link.Link._agree  # pyright: ignore[reportPrivateUsage]

    def agree(self: link.Link, line: bytes) -> None:
        real(self, line)
        if (self.name == "member") == (older == 0):
            self.portraits = False

    monkeypatch.setattr(link.Link, "_agree", agree)
    run = described(2)
    run.begin(0, None if older == 0 else USUAL)
    run.begin(1, None if older == 1 else {**USUAL, "torch": "1.0"})
    assert run.turn(lambda: 0 in free(run))
    if older == 1:
        assert notes(run) == ["machine 1: the launcher there is older, and isn't compared with others"]
        assert run.turn(lambda: run.heard.count("beat") > 3)
        assert "start" not in run.heard  # which it doesn't know
    else:
        assert run.turn(lambda: 1 in free(run))
        assert run.sides[1].notes == ["the main machine's launcher is older, and doesn't compare the machines"]


def test_a_machine_that_describes_nothing_is_waited_for_briefly(
    described: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "SLOW", 0.3)
    run = described(2)
    run.begin(0)
    run.begin(1, None)
    assert run.turn(lambda: 0 in free(run))


def test_a_hostile_portrait_fills_no_screen(described: Make) -> None:
    run = described(2)
    run.begin(0)
    names = [f"variable {'N' * 150}{n}" for n in range(400)]
    run.begin(1, {**USUAL, **dict.fromkeys(names[:25], "x" * FACT)})
    assert run.turn(lambda: free(run) == [0, 1])
    told = notes(run)
    assert len(told) == comparison.MOST_NOTES + 1
    assert told[-1] == "5 more differences between the machines; the report of --report has all"
    assert all(len(note) < 700 for note in told)
    hub, began = run.sides[0], time.monotonic()
    assert isinstance(hub, Hub)
    peer = hub.roster.present[1]
    for n in range(200):  # again and again, always another one
        hub.reception.comparison.take(peer, 1, {**USUAL, names[n + 25]: "y"})
    hub.handle({})
    assert len(hub.reception.comparison.found) == 25
    assert names[30] not in hub.reception.comparison.portraits[1]
    assert time.monotonic() - began < 10
