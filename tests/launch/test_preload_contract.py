"""The launcher's contract once more, for ranks that are forked from one import: the same tests, and the same promises."""

from __future__ import annotations

import pytest

from tests.conftest import Run
from tests.launch.processes import Script
from tests.launch.test_run import (
    test_a_dry_run_pastes,
    test_a_second_signal_ends_it_at_once,
    test_a_signal_ends_all_and_is_our_death,
    test_a_signalled_run_is_128_and_n_even_if_ranks_end_well,
    test_arguments_reach_the_script_byte_for_byte,
    test_grace_then_kill_reaches_children_that_left_the_session,
    test_killing_any_one_process_of_the_launcher_leaves_nothing,
    test_modules_and_programs,
    test_the_failing_ranks_status_is_ours,
    test_the_report_names_the_line_and_comes_last,
)
from tests.launch.test_supervisor import (
    test_64_ranks_are_gone_within_a_second,
    test_a_failure_ends_children_that_left_group_and_session,
    test_a_grandchild_that_holds_the_pipe_does_not_hold_up_the_end,
    test_a_line_begun_is_finished_before_another_ranks_line,
    test_a_line_that_stays_open_holds_the_others_up_only_so_long,
    test_a_read_only_folder_and_no_file_left,
    test_a_reader_that_goes_away_ends_the_run_with_141,
    test_a_script_that_cannot_be_executed,
    test_a_second_hangup_leaves_ranks_their_grace,
    test_a_signal_after_a_failure_does_not_change_the_status,
    test_a_signalled_runs_report,
    test_a_stopped_rank_is_ended_too,
    test_a_terminal_stays_one_with_its_size,
    test_at_a_terminal_rank_0_reads_and_an_interrupt_comes_once,
    test_beginnings_of_lines_and_carriage_returns_are_passed_on,
    test_closed_standard_streams,
    test_each_signal_reaches_every_rank_as_what_it_is,
    test_limits_are_the_ranks_own,
    test_log_files_and_filter,
    test_nohup_keeps_an_ignored_hangup_ignored_for_ranks_too,
    test_prefix_marks_every_line,
    test_rank_0_has_our_standard_input_and_the_others_none,
    test_signals_are_as_found_for_a_rank,
    test_tee_by_rank_marks_lines_as_torchrun_does,
    test_the_first_death_counts_not_the_lowest_rank,
    test_the_launcher_and_its_guardian_killed_at_once_take_the_ranks_along,
    test_the_order_of_deaths_is_known_even_if_the_guardian_was_not_looking,
    test_the_report_as_json,
    test_the_terminal_closing_ends_all,
    test_torchs_error_file_is_preferred,
    test_tstp_stops_ranks_and_launcher_and_cont_wakes_both,
    test_what_a_successful_script_left_gets_grace_and_is_then_ended,
)

__all__ = [
    "test_64_ranks_are_gone_within_a_second",
    "test_a_dry_run_pastes",
    "test_a_failure_ends_children_that_left_group_and_session",
    "test_a_grandchild_that_holds_the_pipe_does_not_hold_up_the_end",
    "test_a_line_begun_is_finished_before_another_ranks_line",
    "test_a_line_that_stays_open_holds_the_others_up_only_so_long",
    "test_a_read_only_folder_and_no_file_left",
    "test_a_reader_that_goes_away_ends_the_run_with_141",
    "test_a_script_that_cannot_be_executed",
    "test_a_second_hangup_leaves_ranks_their_grace",
    "test_a_second_signal_ends_it_at_once",
    "test_a_signal_after_a_failure_does_not_change_the_status",
    "test_a_signal_ends_all_and_is_our_death",
    "test_a_signalled_run_is_128_and_n_even_if_ranks_end_well",
    "test_a_signalled_runs_report",
    "test_a_stopped_rank_is_ended_too",
    "test_a_terminal_stays_one_with_its_size",
    "test_arguments_reach_the_script_byte_for_byte",
    "test_at_a_terminal_rank_0_reads_and_an_interrupt_comes_once",
    "test_beginnings_of_lines_and_carriage_returns_are_passed_on",
    "test_closed_standard_streams",
    "test_each_signal_reaches_every_rank_as_what_it_is",
    "test_grace_then_kill_reaches_children_that_left_the_session",
    "test_killing_any_one_process_of_the_launcher_leaves_nothing",
    "test_limits_are_the_ranks_own",
    "test_log_files_and_filter",
    "test_modules_and_programs",
    "test_nohup_keeps_an_ignored_hangup_ignored_for_ranks_too",
    "test_prefix_marks_every_line",
    "test_rank_0_has_our_standard_input_and_the_others_none",
    "test_signals_are_as_found_for_a_rank",
    "test_tee_by_rank_marks_lines_as_torchrun_does",
    "test_the_failing_ranks_status_is_ours",
    "test_the_first_death_counts_not_the_lowest_rank",
    "test_the_launcher_and_its_guardian_killed_at_once_take_the_ranks_along",
    "test_the_order_of_deaths_is_known_even_if_the_guardian_was_not_looking",
    "test_the_report_as_json",
    "test_the_report_names_the_line_and_comes_last",
    "test_the_terminal_closing_ends_all",
    "test_torchs_error_file_is_preferred",
    "test_tstp_stops_ranks_and_launcher_and_cont_wakes_both",
    "test_what_a_successful_script_left_gets_grace_and_is_then_ended",
]

# What runs by default; the marker `exhaustive` runs the others.
SAMPLE = {
    "test_64_ranks_are_gone_within_a_second",
    "test_a_signal_ends_all_and_is_our_death",
    "test_a_terminal_stays_one_with_its_size",
    "test_arguments_reach_the_script_byte_for_byte",
    "test_killing_any_one_process_of_the_launcher_leaves_nothing",
    "test_limits_are_the_ranks_own",
    "test_log_files_and_filter",
    "test_modules_and_programs",
    "test_rank_0_has_our_standard_input_and_the_others_none",
    "test_the_failing_ranks_status_is_ours",
    "test_the_report_names_the_line_and_comes_last",
    "test_this_really_preloads",
}


def test_the_sample_is_of_these() -> None:
    assert set(__all__) >= SAMPLE - {"test_this_really_preloads"}


@pytest.fixture(autouse=True)
def preloading(environ: dict[str, str]) -> None:
    environ["ACCELERATE_LAUNCH_PRELOAD"] = "colorsys"


def test_this_really_preloads(accelerate: Run, script: Script) -> None:
    done = accelerate(
        "launch", "--cpu", "--num_processes", "2", script("import sys\nprint('colorsys' in sys.modules)")
    )
    assert done.stdout.split() == ["True", "True"]
