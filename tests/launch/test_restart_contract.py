"""The launcher's contract once more, in the attempt that follows a failed one: the same tests, and the same promises.

Each Python rank of the first attempt ends before its script begins, with a status that no script here has. Left out are
tests of folders called attempt_0, and of all that is printed, which now includes a line about the first attempt.
"""

from __future__ import annotations

import pytest

from tests.conftest import Run
from tests.launch.processes import Script
from tests.launch.test_blame import (
    test_a_handled_exception_takes_no_blame,
    test_a_message_of_several_lines_stays_whole,
    test_who_raises_first_and_cleans_up_is_to_blame,
)
from tests.launch.test_leftovers import (
    strangers,
    test_a_daemon_that_asks_to_stay_stays,
    test_a_killed_guardian_leaves_nothing_beside_a_service,
    test_what_does_not_ask_goes,
    test_what_is_below_a_daemon_stays_and_what_is_beside_it_goes,
    test_what_the_launcher_did_not_start_is_left_alone,
)
from tests.launch.test_run import (
    test_a_dry_run_pastes,
    test_a_report_that_cannot_be_written_changes_no_status,
    test_a_second_signal_ends_it_at_once,
    test_a_signal_ends_all_and_is_our_death,
    test_a_signalled_run_is_128_and_n_even_if_ranks_end_well,
    test_arguments_reach_the_script_byte_for_byte,
    test_grace_then_kill_reaches_children_that_left_the_session,
    test_killing_any_one_process_of_the_launcher_leaves_nothing,
    test_modules_and_programs,
    test_ranks_meet_over_gloo,
    test_the_failing_ranks_status_is_ours,
)
from tests.launch.test_stall import (
    test_a_prompt_is_said_as_such_and_never_ended,
    test_end_ends_the_run_with_124_and_the_report_has_it,
    test_standing_still_is_told_once_and_again_at_twice_the_time,
)
from tests.launch.test_supervisor import (
    small_cgroup,
    test_64_ranks_are_gone_within_a_second,
    test_a_failure_ends_children_that_left_group_and_session,
    test_a_full_width_line_stays_one_line_with_its_prefix,
    test_a_gigabyte_from_both_ranks_in_bounded_memory,
    test_a_grandchild_that_holds_the_pipe_does_not_hold_up_the_end,
    test_a_line_begun_is_finished_before_another_ranks_line,
    test_a_line_that_stays_open_holds_the_others_up_only_so_long,
    test_a_rank_has_no_descriptor_but_its_streams,
    test_a_read_only_folder_and_no_file_left,
    test_a_reader_that_goes_away_ends_the_run_with_141,
    test_a_second_hangup_leaves_ranks_their_grace,
    test_a_signal_after_a_failure_does_not_change_the_status,
    test_a_signal_to_what_a_script_left_begins_the_grace_anew,
    test_a_signalled_runs_report,
    test_a_stopped_rank_is_ended_too,
    test_a_stranger_that_holds_a_stream_does_not_hold_up_the_end,
    test_a_terminal_stays_one_with_its_size,
    test_a_traceback_that_was_caught_names_nobody,
    test_an_exception_that_was_handled_is_not_the_cause,
    test_as_pid_1_a_signal_is_an_exit_status,
    test_at_a_terminal_rank_0_reads_and_an_interrupt_comes_once,
    test_beginnings_of_lines_and_carriage_returns_are_passed_on,
    test_closed_standard_streams,
    test_each_signal_reaches_every_rank_as_what_it_is,
    test_limits_are_the_ranks_own,
    test_lines_of_megabytes_from_all_ranks_stay_whole,
    test_no_core_of_ours_is_dumped_at_a_quit,
    test_nohup_keeps_an_ignored_hangup_ignored_for_ranks_too,
    test_nothing_of_ours_is_busy_while_ranks_run,
    test_out_of_memory_is_told_by_the_cgroups_counters,
    test_prefix_marks_every_line,
    test_rank_0_has_our_standard_input_and_the_others_none,
    test_signals_are_as_found_for_a_rank,
    test_signals_that_come_at_once_all_arrive,
    test_the_first_death_counts_not_the_lowest_rank,
    test_the_first_to_raise_is_named_not_its_victim,
    test_the_guardian_minds_no_signal,
    test_the_launcher_and_its_guardian_killed_at_once_take_the_ranks_along,
    test_the_order_of_deaths_is_known_even_if_the_guardian_was_not_looking,
    test_the_report_as_json,
    test_the_terminal_closing_ends_all,
    test_torchs_error_file_is_preferred,
    test_tstp_stops_ranks_and_launcher_and_cont_wakes_both,
    test_what_a_successful_script_left_gets_grace_and_is_then_ended,
    test_when_a_rank_fails_the_others_are_asked_to_end_and_get_the_grace,
)
from tests.launch.test_terminal import (
    test_a_report_begins_on_a_line_of_its_own,
    test_consequences_are_a_line_each,
    test_the_headline_is_bold_and_red,
    test_what_ends_no_rank_is_shown,
)

__all__ = [
    "small_cgroup",
    "strangers",
    "test_64_ranks_are_gone_within_a_second",
    "test_a_daemon_that_asks_to_stay_stays",
    "test_a_dry_run_pastes",
    "test_a_failure_ends_children_that_left_group_and_session",
    "test_a_full_width_line_stays_one_line_with_its_prefix",
    "test_a_gigabyte_from_both_ranks_in_bounded_memory",
    "test_a_grandchild_that_holds_the_pipe_does_not_hold_up_the_end",
    "test_a_handled_exception_takes_no_blame",
    "test_a_killed_guardian_leaves_nothing_beside_a_service",
    "test_a_line_begun_is_finished_before_another_ranks_line",
    "test_a_line_that_stays_open_holds_the_others_up_only_so_long",
    "test_a_message_of_several_lines_stays_whole",
    "test_a_prompt_is_said_as_such_and_never_ended",
    "test_a_rank_has_no_descriptor_but_its_streams",
    "test_a_read_only_folder_and_no_file_left",
    "test_a_reader_that_goes_away_ends_the_run_with_141",
    "test_a_report_begins_on_a_line_of_its_own",
    "test_a_report_that_cannot_be_written_changes_no_status",
    "test_a_second_hangup_leaves_ranks_their_grace",
    "test_a_second_signal_ends_it_at_once",
    "test_a_signal_after_a_failure_does_not_change_the_status",
    "test_a_signal_ends_all_and_is_our_death",
    "test_a_signal_to_what_a_script_left_begins_the_grace_anew",
    "test_a_signalled_run_is_128_and_n_even_if_ranks_end_well",
    "test_a_signalled_runs_report",
    "test_a_stopped_rank_is_ended_too",
    "test_a_stranger_that_holds_a_stream_does_not_hold_up_the_end",
    "test_a_terminal_stays_one_with_its_size",
    "test_a_traceback_that_was_caught_names_nobody",
    "test_an_exception_that_was_handled_is_not_the_cause",
    "test_arguments_reach_the_script_byte_for_byte",
    "test_as_pid_1_a_signal_is_an_exit_status",
    "test_at_a_terminal_rank_0_reads_and_an_interrupt_comes_once",
    "test_beginnings_of_lines_and_carriage_returns_are_passed_on",
    "test_closed_standard_streams",
    "test_consequences_are_a_line_each",
    "test_each_signal_reaches_every_rank_as_what_it_is",
    "test_end_ends_the_run_with_124_and_the_report_has_it",
    "test_grace_then_kill_reaches_children_that_left_the_session",
    "test_killing_any_one_process_of_the_launcher_leaves_nothing",
    "test_limits_are_the_ranks_own",
    "test_lines_of_megabytes_from_all_ranks_stay_whole",
    "test_modules_and_programs",
    "test_no_core_of_ours_is_dumped_at_a_quit",
    "test_nohup_keeps_an_ignored_hangup_ignored_for_ranks_too",
    "test_nothing_of_ours_is_busy_while_ranks_run",
    "test_out_of_memory_is_told_by_the_cgroups_counters",
    "test_prefix_marks_every_line",
    "test_rank_0_has_our_standard_input_and_the_others_none",
    "test_ranks_meet_over_gloo",
    "test_signals_are_as_found_for_a_rank",
    "test_signals_that_come_at_once_all_arrive",
    "test_standing_still_is_told_once_and_again_at_twice_the_time",
    "test_the_failing_ranks_status_is_ours",
    "test_the_first_death_counts_not_the_lowest_rank",
    "test_the_first_to_raise_is_named_not_its_victim",
    "test_the_guardian_minds_no_signal",
    "test_the_headline_is_bold_and_red",
    "test_the_launcher_and_its_guardian_killed_at_once_take_the_ranks_along",
    "test_the_order_of_deaths_is_known_even_if_the_guardian_was_not_looking",
    "test_the_report_as_json",
    "test_the_terminal_closing_ends_all",
    "test_torchs_error_file_is_preferred",
    "test_tstp_stops_ranks_and_launcher_and_cont_wakes_both",
    "test_what_a_successful_script_left_gets_grace_and_is_then_ended",
    "test_what_does_not_ask_goes",
    "test_what_ends_no_rank_is_shown",
    "test_what_is_below_a_daemon_stays_and_what_is_beside_it_goes",
    "test_what_the_launcher_did_not_start_is_left_alone",
    "test_when_a_rank_fails_the_others_are_asked_to_end_and_get_the_grace",
    "test_who_raises_first_and_cleans_up_is_to_blame",
]

# What runs by default; the marker `exhaustive` runs the others.
SAMPLE = {
    "test_a_daemon_that_asks_to_stay_stays",
    "test_a_signal_ends_all_and_is_our_death",
    "test_each_signal_reaches_every_rank_as_what_it_is",
    "test_rank_0_has_our_standard_input_and_the_others_none",
    "test_the_failing_ranks_status_is_ours",
    "test_the_report_as_json",
    "test_this_really_restarts",
}

FIRST_FAILS = """\
import os
if os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0" and "RANK" in os.environ:
    os._exit(99)
"""


def test_the_sample_is_of_these() -> None:
    assert set(__all__) >= SAMPLE - {"test_this_really_restarts"}


@pytest.fixture(autouse=True)
def restarting(environ: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("first")
    (folder / "sitecustomize.py").write_text(FIRST_FAILS)
    environ["PYTHONPATH"] = str(folder)
    environ["ACCELERATE_LAUNCH_MAX_RESTARTS"] = "1"


def test_this_really_restarts(accelerate: Run, script: Script) -> None:
    code = "import os\nprint(os.environ['TORCHELASTIC_RESTART_COUNT'])"
    done = accelerate("launch", "--cpu", "--num_processes", "2", script(code))
    assert (done.returncode, done.stdout.split()) == (0, ["1", "1"])
    assert "accel: attempt 0: rank" in done.stderr
