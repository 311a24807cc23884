"""The command line, cut at the script."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accel_config import CATALOGUE, SettingError, split
from accel_config.settings.declaration import Setting
from accel_config.settings.readers import Duration
from accel_config.settings.span import Span


def values(*words: str) -> dict[str, object]:
    return {name: value.value for name, value in split(CATALOGUE, words).values.items()}


def test_everything_after_the_script_is_the_scripts() -> None:
    typed = split(CATALOGUE, ["--cpu", "train.py", "--cpu", "--", "-x", "--num_processes", "nonsense"])
    assert typed.script == ("train.py", "--cpu", "--", "-x", "--num_processes", "nonsense")
    assert set(typed.values) == {"cpu"}


def test_a_double_dash_before_the_script_is_dropped() -> None:
    assert split(CATALOGUE, ["--cpu", "--", "--odd-name.py", "--"]).script == ("--odd-name.py", "--")


def test_a_double_dash_before_the_script_says_that_what_follows_is_meant() -> None:
    assert split(CATALOGUE, ["train.py", "--cpu"]).notes
    assert not split(CATALOGUE, ["--", "train.py", "--cpu"]).notes


@given(st.lists(st.text(), max_size=6))
def test_script_arguments_are_untouched(arguments: list[str]) -> None:
    assert split(CATALOGUE, ["--num_processes=2", "train.py", *arguments]).script == ("train.py", *arguments)


@pytest.mark.parametrize("one", [one for one in CATALOGUE.settings if one.flags], ids=lambda one: one.name)
def test_both_spellings_of_every_flag(one: Setting) -> None:
    raw = {bool: "true,true,true" if one.many else "true", int: "1", Span: "1:2", float: "1", Duration: "1m"}.get(
        one.kind, "text"
    )
    raw = "A=1" if one.pairs else raw
    raw = str(one.choices[0]) if one.choices else raw
    for flag in one.flags:
        words = [flag] if one.switch else [flag, raw]
        assert values(*words, "x.py") == values(f"{flag}={raw}", "x.py")
        assert one.name in values(*words, "x.py")


def test_mixed_spellings_are_refused() -> None:
    with pytest.raises(SettingError, match=r"--num-cpu_threads_per_process isn't a flag of launch\. Did you mean"):
        values("--num-cpu_threads_per_process", "1")


def test_abbreviations_are_refused() -> None:
    with pytest.raises(SettingError, match="--num_proc isn't a flag"):
        values("--num_proc", "2", "x.py")


@pytest.mark.parametrize(
    ("words", "expected", "script"),
    [
        (["--fsdp_offload_params", "train.py"], True, ("train.py",)),
        (["--fsdp_offload_params", "false", "train.py"], False, ("train.py",)),
        (["--fsdp_offload_params", "YES", "train.py"], True, ("train.py",)),
        (["--fsdp_offload_params=no", "train.py"], False, ("train.py",)),
        (["--fsdp_offload_params", "--cpu", "train.py"], True, ("train.py",)),
    ],
)
def test_a_boolean_takes_the_next_word_only_if_it_is_boolean_text(
    words: list[str], expected: bool, script: tuple[str, ...]
) -> None:
    typed = split(CATALOGUE, words)
    assert typed.values["fsdp_offload_params"].value is expected
    assert typed.script == script


def test_a_switch_never_takes_a_word() -> None:
    typed = split(CATALOGUE, ["--cpu", "false", "x"])
    assert typed.values["cpu"].value is True
    assert typed.script == ("false", "x")
    assert values("--cpu=false", "x.py") == {"cpu": False}


def test_lists_collect_and_the_last_single_value_wins() -> None:
    assert values("--vm", "a", "--vm=b", "--env", "K=V", "x.py") == {"vm": ("a", "b"), "env": ("K=V",)}
    assert values("--num_processes", "2", "--num_processes", "3", "x.py") == {"num_processes": 3}


def test_short_flags() -> None:
    assert values("-m", "-q", "-t", "3", "pkg") == {"module": True, "quiet": True, "tee": "3"}
    assert values("-t3", "x.py") == {"tee": "3"}


def test_no_tpu_cluster_turns_off() -> None:
    assert values("--no_tpu_cluster", "x.py") == values("--no-tpu-cluster", "x.py") == {"tpu_cluster": False}


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help(word: str) -> None:
    assert split(CATALOGUE, ["--cpu", word]).help
    assert not split(CATALOGUE, ["x.py", word]).help


@pytest.mark.parametrize(
    ("words", "topic"),
    [
        (["--help"], ""),
        (["-h", "fsdp"], "fsdp"),
        (["--cpu", "--help", "mixed", "precision"], "mixed precision"),
        (["--help=FSDP"], "FSDP"),
        (["--help", "--cpu", "fsdp"], ""),
        (["--help", "fsdp", "--not-a-flag"], "fsdp"),
        (["--help", "train.py", "--cpu"], ""),
    ],
)
def test_the_words_after_help_are_its_topic(words: list[str], topic: str) -> None:
    typed = split(CATALOGUE, words)
    assert (typed.help, typed.topic, typed.script) == (True, topic, ())


def test_explain_takes_all_unless_that_is_the_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert values("--explain", "x.py") == {"explain": "true"}
    assert values("--explain=all") == values("--explain", "all") == {"explain": "all"}
    assert split(CATALOGUE, ["--explain", "ALL"]).script == ("ALL",)
    (tmp_path / "all").touch()
    typed = split(CATALOGUE, ["--explain", "all"])
    assert (typed.values["explain"].value, typed.script) == ("true", ("all",))
    assert values("--explain=all") == {"explain": "all"}


def test_a_launchers_flag_after_the_script_is_noted() -> None:
    one = split(CATALOGUE, ["train.py", "--cpu", "--lr", "1", "--cpu"])
    assert one.notes == (
        "--cpu stands after the script, so the script receives it. To set the launcher, write it before train.py",
    )
    both = split(CATALOGUE, ["train.py", "--num-processes", "2", "--cpu"])
    (note,) = both.notes
    assert note.startswith("--num-processes, --cpu stand after the script, so the script receives them. To set")
    assert note.endswith("write them before train.py")


@pytest.mark.parametrize("word", ["--cpus", "-m", "--cpu=true", "cpu", "--help", "--"])
def test_other_words_of_the_script_are_not_noted(word: str) -> None:
    assert split(CATALOGUE, ["train.py", word]).notes == ()
    assert split(CATALOGUE, ["train.py", "--", "--cpu"]).notes == ()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--num_processes"], "--num_processes needs a value: a whole number from 1 to 1000000"),
        (["--num_processes", "--cpu", "x.py"], "--num_processes needs a value"),
        (["--num_processes", "two", "x.py"], "--num_processes: num_processes must be a whole number"),
        (["--mixed-precision", "bf61", "x.py"], "not 'bf61'. Did you mean 'bf16'?"),
        (["--nice_try", "x.py"], "--nice_try isn't a flag of launch"),
        (["-z", "x.py"], "-z isn't a flag of launch"),
        (["--no_tpu_cluster=1"], "takes no value"),
    ],
)
def test_usage_errors(words: list[str], message: str) -> None:
    with pytest.raises(SettingError) as refusal:
        split(CATALOGUE, words)
    assert message in str(refusal.value)
    assert refusal.value.status == 2


def test_old_flags_are_taken_with_a_note() -> None:
    typed = split(CATALOGUE, ["--ipex", "--use_xpu", "--fsdp_backward_prefetch_policy", "BACKWARD_PRE", "x.py"])
    assert typed.values["fsdp_backward_prefetch"].value == "BACKWARD_PRE"
    assert len(typed.notes) == 3
    assert "--fsdp_backward_prefetch_policy is now called --fsdp_backward_prefetch" in typed.notes
