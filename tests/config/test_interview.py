"""Every answer to every question of the wizard leads to a file that is valid and can be launched with."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import jsonschema
import pytest

from accel_config import CATALOGUE, AccelError
from accel_config.catalogue import INTERVIEW
from accel_config.checking import check
from accel_config.files import parse
from accel_config.interview import Interview, Proposals
from accel_config.machine import Machine
from accel_config.schema import schema
from accel_config.spelling import document
from accel_launch.cli import main as launch

from .answers import MACHINES, MAKERS, walked

QUESTIONS = {text for one in CATALOGUE.settings for text in (one.ask, one.gate) if text}
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
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("machine", ["cpu", "4 GPUs"])
def test_every_answer_leads_to_a_file_that_works(machine: str, tmp_path: Path) -> None:
    schema_of_files = jsonschema.Draft7Validator(schema(CATALOGUE))
    asked: set[str] = set()
    pending: dict[str, int] = {}
    files = 0
    for path, content in walked(machine):
        asked |= {question for question, _kind, _many in path.asked}
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
    assert asked - {"Another?"} == QUESTIONS  # one that isn't reached here would never be asked
    assert files > 500
    if pending:
        pytest.skip(f"all {files} files are valid, but engines for {sum(pending.values())} are missing: {[*pending]}")


@pytest.mark.parametrize("machine", ["cpu", "4 GPUs"])
def test_a_rerun_proposes_what_the_file_says(machine: str) -> None:
    """Enter at every question gives the file that is there, whatever it says."""
    for path, content in walked(machine)[::5]:
        earlier = parse(CATALOGUE, document(content, "c.yaml").encode(), "c.yaml").values
        assert Interview(Proposals(), MACHINES[machine], earlier=earlier, makers=MAKERS).run() == content, path.keys


def rerun(text: str, machine: Machine, asker: Proposals | None = None) -> dict[str, object]:
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
    assert "AWS_SECRET_ACCESS_KEY" in "".join(found.told)


def test_where_nobody_can_make_a_role_its_name_is_asked_for() -> None:
    person = Stubborn()
    found, content = job(person, ())
    assert found.to_make() == []
    assert person.hidden == []
    assert content["iam_role_name"] == "x"


def test_each_section_is_asked_in_its_place() -> None:
    assert set(INTERVIEW) == {one.section for one in CATALOGUE.settings if one.ask}
    assert len(INTERVIEW) == len(set(INTERVIEW))


def proposed(machine: Machine, **fixed: object) -> dict[str, object]:
    return Interview(Proposals(), machine, fixed).run()


def test_proposals_for_a_machine_without_accelerators() -> None:
    assert proposed(Machine(cores=4)) == {
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
def test_what_the_machine_has_is_proposed(machine: Machine, kind: str, processes: int) -> None:
    found = proposed(machine)
    assert (found["distributed_type"], found["num_processes"], found["use_cpu"]) == (kind, processes, False)


def test_several_processes_on_cpus_are_as_many_as_cores() -> None:
    found = proposed(Machine(cores=6), distributed_type="MULTI_CPU")
    assert (found["num_processes"], found["use_cpu"]) == (6, True)


def test_a_sagemaker_file_holds_nothing_of_a_machine() -> None:
    found = proposed(Machine("GPU", 8, 8), compute_environment="AMAZON_SAGEMAKER", iam_role_name="Role/With.Case")
    assert "num_processes" not in found
    assert "machine_rank" not in found
    assert found["iam_role_name"] == "Role/With.Case"
    assert found["base_job_name"] == "accelerate-sagemaker-1"


def test_deepspeeds_own_configuration_decides_the_precision() -> None:
    found = proposed(Machine("GPU", 2, 8), use_deepspeed=True, deepspeed_config_file="zero.json")
    assert found["distributed_type"] == "DEEPSPEED"
    assert found["deepspeed_config"] == {"deepspeed_config_file": "zero.json", "zero3_init_flag": False}
    assert "mixed_precision" not in found


def test_what_has_no_proposal_is_refused_without_a_person() -> None:
    with pytest.raises(AccelError, match="IAM role"):
        proposed(Machine(), compute_environment="AMAZON_SAGEMAKER")


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

    Interview(Person(), Machine("GPU", 4, 8)).run()
    assert "needs several" in reasons[0]
    assert "make 3 ranks in all" in reasons[1]
    assert "must be a whole number" in reasons[2]
    assert "needed" in reasons[3]
    assert reasons[4] == ""
