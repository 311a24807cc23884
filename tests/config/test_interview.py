"""Every answer to every question of the wizard leads to a file that is valid and can be launched with."""

from __future__ import annotations

import contextlib
import io
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from accel_config import CATALOGUE, AccelError
from accel_config.asking.advice import ADVICE, DOUBTS, INSIST
from accel_config.asking.asker import Back, Proposals
from accel_config.asking.interview import Interview
from accel_config.catalogue import INTERVIEW
from accel_config.checking.file import check
from accel_config.reading.files import parse
from accel_config.settings.machine import MachineFacts
from accel_config.writing.schema import schema
from accel_config.writing.spelling import document
from accel_launch.cli import main as launch

from .answers import MACHINES, MAKERS, walked
from .answers import Path as Answers

QUESTIONS = {text for one in CATALOGUE.settings if one.ask for text in (one.ask.text, one.ask.gate) if text}
LAUNCHED: set[str] = set()
"""The files that were launched with, but for their number of processes: most of what two machines' walks differ in."""
PENDING = ("not in this version yet", "comes with", "accel_launch.engines")


def dry_run(path: Path) -> str:
    """Return why the file can't be launched with; empty where it can."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = launch(["--config_file", str(path), "--dry_run", "train.py"])
        except ModuleNotFoundError as error:
            return str(error)
    assert status or "train.py" in out.getvalue()
    return err.getvalue() if status else ""


# A launch keeps the ports that it found free until its process ends, which is ours here.
@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("machine", ["4 GPUs", "cpu"])
def test_every_answer_leads_to_a_file_that_works(machine: str, tmp_path: Path) -> None:
    schema_of_files = jsonschema.Draft7Validator(schema(CATALOGUE))
    pending: dict[str, int] = {}
    files = 0
    paths = walked(machine)
    asked = {question for path, _content in paths for question, _kind, _many in path.asked}
    for path, content in paths[::3]:
        file = tmp_path / "c.yaml"
        text = document(content, str(file))
        file.write_text(text)
        found = check(CATALOGUE, str(file))
        assert not found.problems + found.notes, (path.keys, text, found)
        schema_of_files.validate(content)
        # A job's request is checked down to the names of instances, which these answers make up.
        shape = re.sub(r"(?m)^num_processes: .*\n", "", text)
        why = "" if content["compute_environment"] == "AMAZON_SAGEMAKER" or shape in LAUNCHED else dry_run(file)
        LAUNCHED.add(shape)
        if any(word in why for word in PENDING):
            pending[why] = pending.get(why, 0) + 1
        else:
            assert not why, (path.keys, text)
        files += 1
    assert {question for question in asked if INSIST not in question} - {
        "Another?"
    } == QUESTIONS  # one that isn't reached here would never be asked
    assert 3 * files > 500
    if pending:
        pytest.skip(f"all {files} files are valid, but engines for {sum(pending.values())} are missing: {[*pending]}")


@pytest.mark.exhaustive
@pytest.mark.parametrize(("machine", "every"), [("4 GPUs", 5), ("cpu", 5)])
def test_a_rerun_proposes_what_the_file_says(machine: str, every: int) -> None:
    """Enter at every question gives the file that is there, whatever it says."""
    for path, content in walked(machine)[::every]:
        earlier = parse(CATALOGUE, document(content, "c.yaml").encode(), "c.yaml").values
        assert Interview(Proposals(), MACHINES[machine], earlier=earlier, makers=MAKERS).run() == content, path.keys


def rerun(text: str, machine: MachineFacts, asker: Proposals | None = None) -> dict[str, object]:
    earlier = parse(CATALOGUE, text.encode(), "c.yaml").values
    return Interview(asker or Proposals(), machine, earlier=earlier, makers=MAKERS).run()


def test_a_rerun_keeps_what_nobody_is_asked_for() -> None:
    found = rerun("num_processes: 1\nmax_restarts: 3\nlog_dir: Logs\nmegatron_lm_config: {}\n", MACHINES["cpu"])
    assert (found["max_restarts"], found["log_dir"]) == (3, "Logs")


def test_what_cant_be_any_more_is_not_proposed_again() -> None:
    class Person(Proposals):
        def text(self, question: str, default: str, check: Callable[[str], str], *, hidden: bool) -> str:  # noqa: ARG002
            return "3" if "many different machines" in question else "x" if default == "" else default

    assert rerun("distributed_type: MULTI_CPU\nnum_processes: 4\n", MACHINES["cpu"], Person())["num_processes"] == 12


def test_a_rank_of_many_is_typed() -> None:
    refused: list[str] = []

    class Person(Proposals):
        def text(self, question: str, default: str, check: Callable[[str], str], *, hidden: bool) -> str:  # noqa: ARG002
            if "rank of this machine" in question:
                refused.append(check("40"))
                return "39"
            return "40" if "many different machines" in question else default or "x"

    fixed: dict[str, object] = {"distributed_type": "MULTI_GPU"}
    assert Interview(Person(), MACHINES["4 GPUs"], fixed).run()["machine_rank"] == 39
    assert "from 0 to 39" in refused[0]


class Restless:
    """Gives the answers of a conversation that has ended, and sometimes goes back instead."""

    def __init__(self, path: Answers, machine: MachineFacts, chance: random.Random) -> None:
        self.wanted, self.chance, self.asked, self.backs = list(path.interview.conversation.taken), chance, 0, 0
        self.interview = Interview(self, machine, makers=MAKERS)
        self.going_back = True

    def _answer(self, question: str) -> Any:
        wanted = self.wanted[len(self.interview.conversation.taken)]
        assert wanted.question == question
        self.asked += 1
        if self.going_back and self.chance.random() < 0.2:
            self.backs += 1
            raise Back
        return wanted.answer

    def choose(self, question: str, options: Sequence[str], _default: int, /) -> int:
        return options.index(self._answer(question))

    def several(self, question: str, _options: Sequence[str], _default: Sequence[int], /) -> list[int]:
        return self._answer(question)

    def confirm(self, question: str, _default: bool, /) -> bool:
        return self._answer(question)

    def text(self, question: str, _default: str, _check: Callable[[str], str], /, *, hidden: bool) -> str:  # noqa: ARG002
        return self._answer(question)

    def report(self, text: str, /) -> None:
        raise AssertionError(text)

    def advise(self, text: str, /) -> None:
        assert text


@pytest.mark.exhaustive
@pytest.mark.parametrize(("machine", "every"), [("4 GPUs", 25), ("cpu", 25)])
def test_going_back_and_changing_an_answer_to_itself_change_nothing(machine: str, every: int) -> None:
    chance = random.Random(20)
    backs = 0
    for path, content in walked(machine)[::every]:
        person = Restless(path, MACHINES[machine], chance)
        assert person.interview.run() == content, path.keys
        backs += person.backs
        person.going_back = False
        for place, taken in enumerate(person.wanted):
            person.asked = 0
            person.interview.conversation.change(place)
            assert person.interview.run() == content, (path.keys, taken)
            assert person.asked == 1, taken
    assert backs > 2500 // every


def test_every_advice_and_doubt_is_about_a_question() -> None:
    assert all(CATALOGUE.by_name[name].ask for name in (*ADVICE, *DOUBTS))


class Picky(Proposals):
    """Gives some answers by the beginning of the question, and keeps what is said meanwhile."""

    def __init__(self, **answers: object) -> None:
        self.answers = {name.replace("_", " "): answer for name, answer in answers.items()}
        self.said: list[str] = []

    def _given(self, question: str, default: Any) -> Any:
        found = next((answer for start, answer in self.answers.items() if start in question), default)
        return found.pop(0) if isinstance(found, list) and found else default if found == [] else found

    def choose(self, question: str, options: Sequence[str], default: int) -> int:
        answer = self._given(question, default)
        return options.index(answer) if isinstance(answer, str) else answer

    def confirm(self, question: str, default: bool) -> bool:
        self.said += [question] if INSIST in question else []
        return self._given(question, default)

    def text(self, question: str, default: str, check: Callable[[str], str], *, hidden: bool) -> str:  # noqa: ARG002
        answer = self._given(question, default)
        assert not check(answer), check(answer)
        return answer

    def advise(self, text: str) -> None:
        self.said.append(text)


@pytest.mark.parametrize(
    ("machine", "answers", "doubt"),
    [
        (MachineFacts(cores=4), {"type_of_machine": ["Several GPUs"]}, "This machine has no GPU."),
        (
            MachineFacts("NPU", 2, 4),
            {"type_of_machine": ["Several GPUs"]},
            "no GPU; its 2 accelerators are of the kind NPU",
        ),
        (MachineFacts("GPU", 2, 4), {"type_of_machine": ["TPU"]}, "This machine has no TPU;"),
        (MachineFacts(cores=4), {"on_CPU_only": [False]}, "This machine has no GPU or other accelerator."),
        (MachineFacts("GPU", 2, 4), {"How_many_processes": ["8"]}, "has 2 devices of the kind GPU for 8 processes."),
        (
            MachineFacts("TPU", 4, 4),
            {"How_many_processes": ["3"]},
            "4 TPU chips, and torch_xla starts a process on each",
        ),
        (MachineFacts("GPU", 2, 4), {"Which_GPUs": ["0,2"]}, "2 devices, numbered from 0, and none with the id 2."),
        (
            MachineFacts(cores=4),
            {"type_of_machine": "Several processes on CPUs", "How_many_processes": ["8"]},
            "This machine has 4 cores for 8 processes, which slow each other down.",
        ),
    ],
)
def test_what_the_machine_contradicts_is_asked_again(
    machine: MachineFacts, answers: dict[str, Any], doubt: str
) -> None:
    person = Picky(**answers)
    insisted = {name: answer[0] if isinstance(answer, list) else answer for name, answer in answers.items()}
    content = Interview(person, machine).run()
    assert doubt in next(text for text in person.said if INSIST in text)
    plain = Picky(**{name: answer for name, answer in answers.items() if isinstance(answer, str)})
    assert content == Interview(plain, machine).run()  # asked again, the proposal was taken
    stubborn = Picky(**insisted, **{"Keep_this_answer": True})
    assert Interview(stubborn, machine).run() != content
    # Nothing is known of a machine that nobody looked at.
    unknown = Picky(**insisted)
    Interview(unknown, machine.replace(known=False)).run()
    assert not [text for text in unknown.said if INSIST in text]


def test_what_a_file_says_already_is_not_doubted() -> None:
    person = Picky()
    earlier = parse(CATALOGUE, b"distributed_type: MULTI_GPU\nnum_processes: 8\n", "c.yaml").values
    assert Interview(person, MachineFacts(cores=2), earlier=earlier).run()["num_processes"] == 8
    assert not [text for text in person.said if INSIST in text]


@pytest.mark.parametrize(("bf16", "precision"), [(True, "bf16"), (False, "no")])
def test_fsdp_proposes_bf16_where_the_devices_have_it(bf16: bool, precision: str) -> None:
    machine = MachineFacts("GPU", 8, 16, bf16)
    assert proposed(machine, distributed_type="FSDP")["mixed_precision"] == precision
    assert proposed(machine)["mixed_precision"] == "no"


@pytest.mark.parametrize(
    ("version", "lines"),
    [
        (2, ["true      2 bytes  gathers parameters twice", "false     6 bytes  gathers parameters once"]),
        (
            1,
            [
                "FULL_SHARD             2 bytes  gathers",
                "SHARD_GRAD_OP          6 bytes  gathers",
                "NO_SHARD              16 bytes  a copy",
                "HYBRID_SHARD           4 bytes  the same within a machine",
                "HYBRID_SHARD_ZERO2     8 bytes  the same",
            ],
        ),
    ],
)
def test_strategies_show_what_they_cost(version: int, lines: list[str]) -> None:
    person = Picky()
    fixed: dict[str, object] = {"distributed_type": "FSDP", "fsdp_version": version, "num_machines": "2"}
    Interview(person, MachineFacts("GPU", 4, 16), {**fixed, "main_process_ip": "node"}).run()
    table = next(text for text in person.said if text.startswith("Memory:"))
    for line in lines:
        assert line in table
    assert all(len(line) < 80 + 10 for line in table.splitlines())


class Stubborn(Proposals):
    """Says no to what comes first, and types what is asked for."""

    def __init__(self) -> None:
        self.hidden: list[str] = []

    def confirm(self, question: str, default: bool) -> bool:
        return default and "AWS profile" not in question and "IAM role" not in question

    def text(self, question: str, default: str, check: Callable[[str], str], *, hidden: bool) -> str:  # noqa: ARG002
        self.hidden += [question] if hidden else []
        return "ASIA-very-secret" if hidden else default or "x"


def job(asker: Proposals, makers: Sequence[str] = MAKERS) -> tuple[Interview, dict[str, object]]:
    interview = Interview(asker, MACHINES["cpu"], {"compute_environment": "AMAZON_SAGEMAKER"}, makers=makers)
    return interview, interview.run()


def test_keys_are_asked_for_only_to_make_a_role_and_are_kept_nowhere() -> None:
    person = Stubborn()
    found, content = job(person)
    assert [one.name for one in found.to_make()] == ["iam_role_name"]
    assert len(person.hidden) == 3  # the id of a temporary key, so a token belongs to it
    assert found.settings().value("aws_session_token").value == "ASIA-very-secret"
    assert "secret" not in str(content)
    assert content["iam_role_name"] == "accelerate_sagemaker_execution_role"
    assert "AWS_SECRET_ACCESS_KEY" in "".join(found.closing)


def test_where_nobody_can_make_a_role_its_name_is_asked_for() -> None:
    person = Stubborn()
    found, content = job(person, ())
    assert found.to_make() == []
    assert person.hidden == []
    assert content["iam_role_name"] == "x"


def test_each_section_is_asked_in_its_place() -> None:
    assert set(INTERVIEW) == {one.section for one in CATALOGUE.settings if one.ask}
    assert len(INTERVIEW) == len(set(INTERVIEW))


def proposed(machine: MachineFacts, **fixed: object) -> dict[str, object]:
    return Interview(Proposals(), machine, fixed).run()


def test_proposals_for_a_machine_without_accelerators() -> None:
    assert proposed(MachineFacts(cores=4)) == {
        "compute_environment": "LOCAL_MACHINE",
        "debug": False,
        "distributed_type": "NO",
        "downcast_bf16": False,
        "enable_cpu_affinity": False,
        "machine_rank": 0,
        "main_training_function": "main",
        "mixed_precision": "no",
        "num_machines": 1,
        "num_processes": 1,
        "rdzv_backend": "static",
        "same_network": False,
        "tpu_use_cluster": False,
        "tpu_use_sudo": False,
        "use_cpu": True,
    }


@pytest.mark.parametrize(
    ("machine", "kind", "processes"),
    [(MACHINES["4 GPUs"], "MULTI_GPU", 4), (MACHINES["1 GPU"], "NO", 1), (MACHINES["2 NPUs"], "MULTI_NPU", 2)],
)
def test_what_the_machine_has_is_proposed(machine: MachineFacts, kind: str, processes: int) -> None:
    found = proposed(machine)
    assert (found["distributed_type"], found["num_processes"], found["use_cpu"]) == (kind, processes, False)


def test_several_processes_on_cpus_are_as_many_as_cores() -> None:
    found = proposed(MachineFacts(cores=6), distributed_type="MULTI_CPU")
    assert (found["num_processes"], found["use_cpu"]) == (6, True)


def test_a_sagemaker_file_holds_nothing_of_a_machine() -> None:
    found = proposed(
        MachineFacts("GPU", 8, 8), compute_environment="AMAZON_SAGEMAKER", iam_role_name="Role/With.Case"
    )
    assert "num_processes" not in found
    assert "machine_rank" not in found
    assert found["iam_role_name"] == "Role/With.Case"
    assert found["base_job_name"] == "accelerate-sagemaker-1"


def test_deepspeeds_own_configuration_decides_the_precision() -> None:
    found = proposed(MachineFacts("GPU", 2, 8), use_deepspeed=True, deepspeed_config_file="zero.json")
    assert found["distributed_type"] == "DEEPSPEED"
    assert found["deepspeed_config"] == {"deepspeed_config_file": "zero.json", "zero3_init_flag": False}
    assert "mixed_precision" not in found


def test_what_has_no_proposal_is_refused_without_a_person() -> None:
    with pytest.raises(AccelError, match="IAM role"):
        proposed(MachineFacts(), compute_environment="AMAZON_SAGEMAKER")


def test_an_answer_that_cant_work_is_refused_with_the_reason() -> None:
    reasons: list[str] = []

    class Person(Proposals):
        def text(self, question: str, default: str, check: object, *, hidden: bool) -> str:  # pyright: ignore[reportIncompatibleMethodOverride]
            assert callable(check)
            assert not hidden
            if question.startswith("Which GPUs"):
                reasons.append(str(check("0")))
            if "context parallel size" in question:
                reasons.extend([str(check("3")), str(check("x")), str(check("")), str(check("2"))])
            return default

        def confirm(self, _question: str, default: bool) -> bool:
            return "several dimensions" in _question or "FullySharded" in _question or default

    Interview(Person(), MachineFacts("GPU", 4, 8)).run()
    assert "needs several" in reasons[0]
    assert "make 3 ranks in all" in reasons[1]
    assert "must be a whole number" in reasons[2]
    assert "needed" in reasons[3]
    assert reasons[4] == ""
