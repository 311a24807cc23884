"""The output of ranks, and the report of a run."""

from accel_config.settings.declaration import Section, setting
from accel_config.settings.readers import Duration


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
    name: str | None = setting(
        key=None,
        ours=True,
        metavar="NAME",
        default_text="chosen, such as `brave-otter`",
        help="Name of the run, by which `accelerate ps`, `stop`, `wait`, `report` and `stacks` know it.",
    )
    detach: bool = setting(
        False,
        switch=True,
        short="-d",
        key=None,
        ours=True,
        common=True,
        help="Check everything, start the run, print its name, and return. The run goes on in a session of its own; "
        "`accelerate logs` shows what it prints.",
    )
    terminal: bool = setting(
        False,
        switch=True,
        ours=True,
        help="Give the ranks of a detached run terminals instead of pipes: progress bars are drawn as on a terminal, "
        "as wide as the one that `accelerate attach` has.",
    )
    output_limit: int = setting(
        100,
        minimum=1,
        ours=True,
        metavar="MB",
        help="Megabytes of output that the record of a detached run keeps; the oldest goes first.",
    )
    no_record: bool = setting(
        False,
        switch=True,
        ours=True,
        help="Leave no record of the run in ~/.local/state/accel/runs.",
    )
    record_age: Duration = setting(
        Duration.read("30d"),
        minimum=0,
        ours=True,
        help="Time after which the record of a run that has ended is removed.",
    )
    record_count: int = setting(
        200,
        minimum=1,
        ours=True,
        help="Records of ended runs to keep; the oldest are removed.",
    )
