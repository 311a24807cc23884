"""Engines declare which settings they honor; the notes about all others are derived from that."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, distribution, entry_points
from pathlib import Path

import pytest

from accel_config import CATALOGUE, AccelError
from accel_config.errors import FAILED
from accel_config.settings.declaration import Section, Setting
from accel_launch import engines, plan
from accel_launch.engines import registry
from accel_launch.engines.context import LaunchContext
from accel_launch.engines.declaration import AGENT, Engine
from accel_launch.planning.types import Plan
from tests.conftest import Resolve
from tests.launch.hosts import host

ENGINES = registry.names()


def _divide(_context: LaunchContext) -> Plan:
    raise ZeroDivisionError("division by zero")


FAILING = Engine(_divide)
EMPTY = Engine(lambda _context: None)  # pyright: ignore[reportArgumentType]
MISSPELT = Engine(_divide, honors=("nicee",))


def provide(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Let another package provide the engine x, at ``value``."""
    entry = EntryPoint("x", value, registry.GROUP)

    def entries(**_selected: str) -> list[EntryPoint]:
        return [entry]

    monkeypatch.setattr("importlib.metadata.entry_points", entries)


def undeclared(engine: Engine, settings: tuple[Setting, ...]) -> list[str]:
    return [one.name for one in settings if engine.reason(one) is None]


class MadeUp(Section):
    """A setting that no engine has heard of."""


MADE_UP = Setting(0, help="")
MADE_UP.bind(MadeUp, "made_up", int)


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_honors_or_ignores_every_setting(name: str) -> None:
    """A new setting is named in the lists of accel_launch.engines.declaration, or by the engines that act on it."""
    engine = registry.load(name)
    assert undeclared(engine, CATALOGUE.settings) == [], f"the engine {name} neither honors nor ignores these"
    assert undeclared(engine, (*CATALOGUE.settings, MADE_UP)) == ["made_up"]


@pytest.mark.parametrize("name", ENGINES)
def test_what_an_engine_names_is_a_setting(name: str) -> None:
    assert set(registry.load(name).named_settings) <= set(CATALOGUE.by_name)


def test_the_table_holds_what_the_entry_points_do() -> None:
    def declared(package: str) -> dict[str, str]:
        entries = distribution(package).entry_points.select(group=registry.GROUP)
        return {entry.name: entry.value for entry in entries}

    assert declared("accel-launch") == {name: f"{module}:ENGINE" for name, module in registry.BUILT_IN.items()}
    others = {name: package for package in ("accel-tpu", "accel-sagemaker") for name in declared(package)}
    assert others == registry.OPTIONAL
    assert set(ENGINES) >= {*registry.BUILT_IN, *registry.OPTIONAL}
    assert all(isinstance(entry.load(), Engine) for entry in entry_points(group=registry.GROUP))


@pytest.mark.parametrize("name", ENGINES)
def test_nice_is_honored_or_has_a_note(settings: Resolve, name: str) -> None:
    notes = [*registry.load(name).dropped(name, settings("--nice", "5"), {})]
    if name in registry.BUILT_IN:
        assert notes == []
    else:
        (note,) = notes
        assert note.startswith("nice 5 (--nice) has no effect: ")


def notes(settings: Resolve, folder: Path, *flags: str, file: str | None = None, **environ: str) -> tuple[str, ...]:
    (folder / "train.py").touch()
    return plan(settings(*flags, file=file, environ=environ), host(cwd=str(folder)), ["train.py"]).notes


@pytest.mark.parametrize(
    ("flags", "environ", "expected"),
    [
        (["--mpirun_bind_to", "core"], {}, ["mpirun_bind_to core (--mpirun_bind_to)"]),
        (["--engine", "exec", "--max_restarts", "2"], {}, ["max_restarts 2 (--max_restarts)"]),
        (["--max_restarts", "2", "--monitor_interval", "1", "--rdzv_conf", "a=1"], {}, ["rdzv_conf a=1 (--rdzv_conf)"]),
        ([], {"ACCELERATE_LAUNCH_TPU_NAME": "pod"}, ["tpu_name pod (ACCELERATE_LAUNCH_TPU_NAME)"]),
        (["--vm", "a", "--vm", "b"], {}, ["vm a,b (--vm)"]),
        (["--env", "TOKEN=hunter2"], {}, ["env TOKEN=*** (--env)"]),
        (["--same_network", "--nice", "3", "--grace", "1"], {}, ["same_network true (--same_network)"]),
        (["--use_deepspeed", "--deepspeed_hostfile", "hosts"], {}, ["deepspeed_hostfile hosts (--deepspeed_hostfile)"]),
        (["--lifeline_timeout", "9"], {}, ["lifeline_timeout 9 (--lifeline_timeout)"]),
    ],
)  # fmt: skip
def test_what_an_engine_does_not_honor_has_one_note(
    settings: Resolve, tmp_path: Path, flags: list[str], environ: Mapping[str, str], expected: list[str]
) -> None:
    found = [note.partition(" has no effect: ") for note in notes(settings, tmp_path, *flags, **environ)]
    assert [described for described, effect, _reason in found if effect] == expected
    assert all(reason for _described, effect, reason in found if effect)


def test_a_file_may_hold_settings_for_other_engines(settings: Resolve, tmp_path: Path) -> None:
    file = "{mpirun_config: {bind-to: core}, tpu_name: pod, max_restarts: 2, engine: local, run_id: r}"
    assert not [note for note in notes(settings, tmp_path, file=file) if "no effect" in note]


def test_a_section_that_is_not_in_use_has_one_note(settings: Resolve, tmp_path: Path) -> None:
    found = notes(settings, tmp_path, "--aws_secret_access_key", "hunter2", "--zero_stage", "2")
    assert len([note for note in found if "zero_stage" in note]) == 1
    assert "hunter2" not in "".join(found)


def test_an_engine_ignores_what_it_does_not_declare(settings: Resolve) -> None:
    engine = Engine(lambda _context: engines.Plan("mine", ()), honors=("nice",))
    found = [*engine.dropped("mine", settings("--nice", "3", "--gpu_ids", "0", "--run_id", "r"), {})]
    assert found == [
        "gpu_ids 0 (--gpu_ids) has no effect: the engine mine doesn't use it",
        "run_id r (--run_id) has no effect: only torch's agent uses it (--engine torchrun)",
    ]
    (found,) = engine.dropped("mine", settings("--nice", "3"), {"nice": "it is late"})
    assert found == "nice 3 (--nice) has no effect: it is late"


def test_ranks_that_a_scheduler_started_need_no_agent(settings: Resolve) -> None:
    """Reasons that planning finds are stronger than those of the declaration."""
    engine = registry.load("exec")
    reasons = dict.fromkeys(AGENT, "the scheduler started the ranks")
    (note,) = engine.dropped("exec", settings("--run_id", "r"), reasons)
    assert note == "run_id r (--run_id) has no effect: the scheduler started the ranks"


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("builtins:print", "isn't an accel_launch.engines.Engine"),
        ("no.such.module:ENGINE", "can't be loaded: ModuleNotFoundError: No module named 'no'"),
        (f"{__name__}:MISSPELT", "declares 'nicee', which isn't a setting. Did you mean 'nice'?"),
    ],
)
def test_a_broken_engine_of_another_package_is_named(monkeypatch: pytest.MonkeyPatch, value: str, error: str) -> None:
    provide(monkeypatch, value)
    with pytest.raises(AccelError) as caught:
        registry.load("x")
    assert str(caught.value) == f"the engine 'x' ({value}) {error}"


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("FAILING", r"the engine 'x' failed: ZeroDivisionError: division by zero \(.*declarations\.py:\d+\)"),
        ("EMPTY", "the engine 'x' returned NoneType instead of a Plan"),
    ],
)
def test_an_engine_of_another_package_that_fails_has_one_line(
    monkeypatch: pytest.MonkeyPatch, settings: Resolve, tmp_path: Path, value: str, error: str
) -> None:
    provide(monkeypatch, f"{__name__}:{value}")
    with pytest.raises(AccelError, match=error) as caught:
        notes(settings, tmp_path, "--engine", "x")
    assert caught.value.status == FAILED


def test_an_unknown_engine_says_where_its_name_stands(settings: Resolve, tmp_path: Path) -> None:
    with pytest.raises(AccelError, match=r"config\.yaml:1.*: there is no engine 'torchrn'. Did you mean 'torchrun'"):
        notes(settings, tmp_path, file="{engine: torchrn}")


def test_the_engine_for_one_process_refuses_several(settings: Resolve, tmp_path: Path) -> None:
    with pytest.raises(AccelError, match=r"\(--engine\) starts one process, but there are 2"):
        notes(settings, tmp_path, "--engine", "exec", "--cpu", "--num_processes", "2")


def test_the_api_is_what_it_lists() -> None:
    assert all(getattr(engines, name) is not None for name in engines.__all__)
    assert set(engines._MODULES) == set(engines.__all__)
    assert set(engines.__all__) <= set(dir(engines))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = engines.nothing  # pyright: ignore[reportAttributeAccessIssue]
