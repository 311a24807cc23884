"""The output of ranks, and the report of a run."""

from accel_config.settings.declaration import Section, setting


class Output(Section, title="Output and reports"):
    """Where the output of ranks goes, and the report of a run."""

    prefix: bool = setting(
        False,
        switch=True,
        ours=True,
        common=True,
        help="Print the rank in front of each line of its output, as in `[0] loss 0.3`.",
    )
    filter_ranks: str | None = setting(
        joins=True,
        ours=True,
        metavar="RANKS",
        default_text="all",
        help="Local ranks whose output is shown, such as `0` or `0,4`. Log files hold the output of all ranks.",
    )
    log_dir: str | None = setting(
        ours=True,
        metavar="FOLDER",
        common=True,
        help="Folder for log files: `DATE_SCRIPT/attempt_0/LOCAL_RANK/stdout.log` and `stderr.log` in it, and "
        "the link `latest`. Without `--tee`, both streams go to the files and to the console.",
    )
    tee: str = setting(
        "0",
        short="-t",
        ours=True,
        metavar="STREAMS",
        help="Streams whose lines begin with the role and the local rank on the console, as in `[default0]:`: "
        "`0` none, `1` stdout, `2` stderr, `3` both, or by local rank: `0:1,1:3`. With `--log_dir`, log files "
        "hold these streams alone.",
    )
    report: str | None = setting(
        ours=True, metavar="FILE", common=True, help="Write a JSON report of the run to FILE."
    )
