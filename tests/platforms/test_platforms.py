"""What must work on macOS and Windows too, in processes that lack what isn't there: imitated, since no test has run there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from accel_launch.running.supervising import plain
from tests.conftest import ROOT
from tests.launch.processes import gone
from tests.platforms.rooms import SYSTEMS

PURE = (
    *("config/checking", "config/content", "config/document", "config/environ", "config/files", "config/flags"),
    *("config/interview", "config/layers", "config/own", "config/paradigm", "config/presets", "config/section"),
    *("estimate/local", "estimate/strategies", "estimate/weights", "launch/checks", "launch/layout", "launch/plan"),
)
"""Files of tests of what works everywhere: config, estimate and planning."""
SUPERVISED = (
    *("process_tree", "supervisor", "run", "leftovers", "restarts", "engine_torchrun", "runs"),
    "binding",
)
"""Files of tests of the launcher's contract, which macOS has to keep too."""
CHOSEN = {
    "launch/preload": (
        *("a_rank_cannot_tell[as_script]", "what_a_refused_import_left_is_ended", "tstp_and_cont_during_the_import"),
        *("killing_the_importing_process_starts_ranks_plainly", "a_name_that_a_module_lacks_is_told"),
        "killing_the_launcher_or_the_guardian_during_the_import_leaves_nothing",
    ),
    "launch/preload_contract": (
        *("the_failing_ranks_status_is_ours", "killing_any_one_process_of_the_launcher_leaves_nothing"),
        "tstp_stops_ranks_and_launcher_and_cont_wakes_both",
    ),
    "launch/wrap": (
        *("a_failed_rank_is_the_runs_failure_whatever_its_tool_says", "whoever_is_killed_with_tools_nothing_is_left"),
        "signals_and_looks_reach_the_rank_and_its_tool_ends_after_it",
    ),
    "launch/debugging": ("whoever_quits_the_debugger_wants_no_other_attempt", "what_ctrl_c_and_ctrl_backslash_mean"),
    "launch/calling": (
        *("lines_and_events_come_in_the_calling_thread_and_nothing_is_shown", "a_failing_script_is_a_result"),
        "a_function_of_a_module_returns_from_each_rank",
    ),
    "launch/top": ("a_terminal_shows_ranks_output_and_stacks_and_stops_the_run",),
    "launch/stacks": ("children_are_shown_with_their_own_stacks",),
    "launch/detach": ("logs_of_one_rank_of_a_time_and_of_the_end",),
    "launch/hosts": ("this_machine_needs_no_ssh",),
    "config/storage": ("a_kill_at_any_moment_leaves_the_old_or_the_new", "links_stay_links"),
    "sagemaker/submit": ("a_job_is_created_with_its_bundle",),
    "sagemaker/follow": ("statuses_and_lines_come_once_and_in_order",),
}
"""Tests that stand for their files, which pass there as well, but for those of `LINUX`."""
LINUX = {
    "accel_launch's processes have no names of their own": (
        "test_leftovers.py::test_what_the_launcher_did_not_start_is_left_alone",
    ),
    "the launcher is never the first process of a container": (
        "test_supervisor.py::test_as_pid_1_a_signal_is_an_exit_status",
        "test_leftovers.py::test_as_pid_1",
    ),
    "ps shows a line's end in a way of its own": (
        "test_supervisor.py::test_what_a_successful_script_left_gets_grace_and_is_then_ended",
    ),
    "there are no cgroups": ("test_supervisor.py::test_out_of_memory_is_told_by_the_cgroups_counters",),
    "orphans are collected by the system, a moment later": (
        "test_restarts.py::test_an_attempt_is_gone_before_the_next_begins",
    ),
    "they compute for long, and what they hold isn't the system's": (
        "test_supervisor.py::test_64_ranks_are_gone_within_a_second",
        "test_supervisor.py::test_lines_of_megabytes_from_all_ranks_stay_whole",
        "test_supervisor.py::test_a_signal_that_ends_nothing_does_not_end_the_launcher_while_it_leaves",
    ),
    "there is a keeper between launcher and guardian": ("test_restarts.py::test_a_thousand_restarts_leave_nothing",),
    "standing still isn't seen": (
        "test_restarts.py::test_standing_still_leads_to_another_attempt",
        "test_run.py::test_one_process_is_supervised_where_a_flag_asks_for_it[--stall_after 60]",
        "test_plan.py::test_a_process_is_watched_if_that_or_what_follows_is_asked_for",
    ),
    "no process can be bound to cores": (
        "test_binding.py::test_the_plan_shows_the_cpus_and_its_script_binds_to_them",
        "test_binding.py::test_every_thread_of_a_rank_is_bound_however_it_is_started",
    ),
    "an engine that a signal ends leaves its ranks to nobody": (
        "test_wrap.py::test_signals_and_looks_reach_the_rank_and_its_tool_ends_after_it[others]",
    ),
    "what a thread waits for isn't seen": (
        "test_calling.py::test_a_timeout_ends_a_script_with_124",
        "test_stacks.py::test_ranks_are_grouped_by_where_they_are",
        "test_stacks.py::test_json_has_ranks_groups_and_the_kernel_s_facts",
        "test_stacks.py::test_a_worker_that_a_rank_waits_for_is_in_its_line",
        "test_stacks.py::test_without_the_sampler_the_kernel_is_asked",
        "test_stacks.py::test_a_program_that_is_no_python",
        "test_stacks.py::test_a_sampler_is_no_debugger",
    ),
    "a machine isn't known again after a restart": (
        "test_stacks.py::test_a_run_that_ends_removes_what_killed_launchers_left_without_a_record",
    ),
    "what is mapped isn't seen": ("test_preload.py::test_a_device_that_is_mapped_is_refused",),
    "its ranks' Python isn't that of the imitation": (
        "test_preload.py::test_what_is_held_back_when_the_ranks_are_forked_is_written_once",
    ),
    "the test counts seconds": ("test_preload_contract.py::test_64_ranks_are_gone_within_a_second",),
}
"""Tests of these files that don't run there, by reason; a name stands for all that begin so."""
LEFT = tuple(f"--deselect=tests/launch/{name}" for names in LINUX.values() for name in names)
SITE = Path(__file__).with_name("site")


def there(system: str, environ: dict[str, str]) -> dict[str, str]:
    """Return an environment in which Python sees another system."""
    return {**environ, "TESTS_PLATFORM": system, "PYTHONPATH": f"{SITE}{os.pathsep}{ROOT}"}


def imitated(
    system: str, *words: str | Path, environ: dict[str, str], timeout: float = 170
) -> subprocess.CompletedProcess[str]:
    """Run Python to its end as on another system."""
    return subprocess.run(
        [sys.executable, *words],
        env=there(system, environ),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@pytest.mark.parametrize("system", SYSTEMS)
def test_everything_is_imported_and_commands_answer(system: str, environ: dict[str, str], tmp_path: Path) -> None:
    done = imitated(system, Path(__file__).with_name("probe.py"), system, tmp_path, environ=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout) > 300


@pytest.mark.exhaustive
@pytest.mark.parametrize("system", SYSTEMS)
def test_config_estimate_and_planning_pass_their_tests(system: str, environ: dict[str, str], tmp_path: Path) -> None:
    files = [ROOT / "tests" / name.replace("/", "/test_") for name in PURE]
    words = ("-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider", "-q", "--basetemp", tmp_path / "tests")
    done = imitated(system, *words, *LEFT, *(file.with_suffix(".py") for file in files), environ=environ)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


@pytest.mark.exhaustive
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", SUPERVISED)
def test_the_launchers_contract_holds_on_macos(name: str, environ: dict[str, str], tmp_path: Path) -> None:
    words = ("-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider", "-q", "--basetemp", tmp_path / "tests")
    done = imitated("darwin", *words, *LEFT, f"tests/launch/test_{name}.py", environ=environ, timeout=580)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


@pytest.mark.exhaustive
@pytest.mark.timeout(600)
def test_what_else_works_on_linux_works_on_macos(environ: dict[str, str], tmp_path: Path) -> None:
    words = ("-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider", "-q", "--basetemp", tmp_path / "tests")
    chosen = [
        f"tests/{file.replace('/', '/test_')}.py::test_{name}" for file, tests in CHOSEN.items() for name in tests
    ]
    done = imitated("darwin", *words, *LEFT, *chosen, environ=environ, timeout=580)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


@pytest.mark.machines
def test_a_mac_starts_the_ranks_of_linux_machines(environ: dict[str, str], tmp_path: Path) -> None:
    words = (
        "-m",
        "pytest",
        "-p",
        "no:xdist",
        "-p",
        "no:cacheprovider",
        "-q",
        "--basetemp",
        tmp_path,
        "-m",
        "machines",
    )
    chosen = "tests/launch/test_hosts_machines.py::test_one_command_runs_another_machine"
    done = imitated("darwin", *words, chosen, environ=environ)
    assert done.returncode == 0, done.stdout


@pytest.mark.exhaustive
@pytest.mark.parametrize("killed", ["guardian and keeper", "launcher and guardian", "the process that has imported"])
def test_whoever_is_killed_on_macos_nothing_is_left(
    killed: str, environ: dict[str, str], script: Callable[[str], Path]
) -> None:
    path = script("import os, time\nos.write(1, b'here\\n')\ntime.sleep(3 if os.environ['RANK'] == '1' else 600)\n")
    words = ("launch", "-q", "--cpu", "--num_processes", "2", "--grace", "1", "--preload", "colorsys")
    with subprocess.Popen(
        [sys.executable, "-m", "accel_cli", *words, path],
        env=there("darwin", environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stdout is not None
        assert [running.stdout.readline() for _rank in range(2)] == ["here\n"] * 2
        keeper = next(one for one in psutil.Process(running.pid).children() if one.children())
        (guardian,) = keeper.children()
        (parent,) = guardian.children()
        ranks = [one.pid for one in parent.children()]
        every = {"guardian": guardian, "keeper": keeper, "launcher": running, "the process that has imported": parent}
        for name in killed.split(" and "):
            every[name].kill()
        said = running.communicate(timeout=60)[1]
    assert running.returncode == {"guardian and keeper": 137, "launcher and guardian": -9}.get(killed, 1)
    assert ("how rank 1 ended isn't known: the process that forked it is gone" in said) == (running.returncode == 1)
    assert gone([*ranks, parent.pid, keeper.pid])
    assert not [*Path("/tmp").glob(f"accel-*/{running.pid}")]


def test_the_interface_to_the_system_is_whole_on_macos(environ: dict[str, str]) -> None:
    words = ("-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider", "-q", "tests/platforms/test_system.py")
    done = imitated("darwin", *words, environ=environ)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("system", SYSTEMS)
def test_one_process_has_the_status_of_its_script(
    system: str, environ: dict[str, str], script: Callable[[str], Path]
) -> None:
    path = script("import os, sys\nprint('rank of', os.environ.get('WORLD_SIZE', '1'))\nsys.exit(3)\n")
    done = imitated(system, "-m", "accel_cli", "launch", "--cpu", path, environ=environ)
    assert (done.returncode, done.stdout) == (3, "rank of 1\n"), done.stderr
    assert done.stderr.startswith(f"accel: note: {plain.LESS}") == (system == "win32")


def test_on_windows_ranks_are_started_awaited_and_ended(
    environ: dict[str, str], script: Callable[[str], Path], tmp_path: Path
) -> None:
    path = script(
        "import os, sys, time\nos.write(1, '{USE_LIBUV} {WORLD_SIZE}\\n'.format(**os.environ).encode())\n"
        "if sys.argv[1:] and os.environ['RANK'] == '1': sys.exit(7)\n"
        "time.sleep(60)\n"
    )
    words = ("-m", "accel_cli", "launch", "--cpu", "--num_processes", "2", "--report", tmp_path / "report.json", path)
    done = imitated("win32", *words, "fail", environ=environ)
    assert done.returncode == 7, done.stderr
    assert set(done.stdout.splitlines()) <= {"0 2"}
    assert "accel: rank 1 (local rank 1, pid " in done.stderr
    assert json.loads((tmp_path / "report.json").read_text())["status"] == 7
    refused = imitated("win32", *words[:-1], "--engine", "torchrun", path, environ=environ)
    assert (refused.returncode, "launch within WSL" in refused.stderr) == (2, True), refused.stderr
    refused = imitated("win32", *words[:-1], "--detach", path, environ=environ)
    assert (refused.returncode, "detach true (--detach): no run goes on by itself" in refused.stderr) == (2, True)
    ignored = ("--max_restarts", "2", "--prefix", "--log_dir", "logs", "--stall_action", "end")
    done = imitated("win32", *words[:-1], *ignored, path, "fail", environ=environ)
    for note in ("max_restarts 2 (--max_restarts)", "prefix true (--prefix)", "log_dir logs (--log_dir)"):
        assert f"accel: note: {note} has no effect on Windows\n" in done.stderr
    with subprocess.Popen(
        [sys.executable, *map(str, words)],
        env=there("win32", environ),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as running:
        assert running.stdout is not None
        assert [running.stdout.readline() for _rank in range(2)] == [b"0 2\n"] * 2
        os.killpg(running.pid, signal.SIGINT)  # as a console does
        assert running.wait(60) == 130
