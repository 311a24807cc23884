"""What is shown and kept of what ranks print, and of how they end."""

from ..section import Section, setting


class Output(Section, title="Output and reports"):
    """Where the output of ranks goes, and the report of a failure."""

    prefix: bool = setting(
        False, switch=True, ours=True, help="Put the rank before each line that it prints, as in '[0] loss 0.3'."
    )
    filter_ranks: str | None = setting(
        joins=True,
        ours=True,
        help="Show the output of these local ranks only, such as 0 or 0,4. Log files hold all of it.",
    )
    log_dir: str | None = setting(
        ours=True,
        help="Folder for log files: RUN/attempt_0/LOCAL_RANK/stdout.log and stderr.log below it. "
        "Without --tee, both streams go there and to the console.",
    )
    tee: str = setting(
        "0",
        short="-t",
        ours=True,
        help="With --log_dir, the streams that are kept there: 0 none, 1 stdout, 2 stderr, 3 both, "
        "or by local rank: 0:1,1:3. On the console their lines begin with the role and the rank.",
    )
    report: str | None = setting(ours=True, help="File to write how the run ended to, as JSON.")
