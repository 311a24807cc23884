"""The launcher itself: what it runs, prints and waits for."""

from accel_config.settings.declaration import Section, setting
from accel_config.settings.paradigm import paradigm
from accel_config.settings.question import Question
from accel_config.settings.readers import FALSE, TRUE, Duration

PRESETS = ("ddp", "fsdp2", "fsdp2-offload", "hsdp", "zero2", "zero3", "zero3-offload", "qlora-fsdp", "cpu")
"""The config files in `accel_config/presets`, by name."""


class Launcher(Section, title="Launcher"):
    """What the launcher runs, and what it prints about it."""

    config_file: str | None = setting(
        key=None,
        variables=("ACCELERATE_CONFIG_FILE",),
        metavar="FILE",
        default_text="the default config file if it exists; none with --cpu",
        common=True,
        help="Config file to read.",
    )
    preset: str | None = setting(
        key=None,
        choices=PRESETS,
        common=True,
        help="Settings to start from, instead of the default config file. Flags and variables win over them.",
    )
    module: bool = setting(
        False,
        switch=True,
        short="-m",
        ours=True,
        common=True,
        help="Run the script as a Python module, like `python -m`.",
    )
    no_python: bool = setting(
        False, switch=True, ours=True, help="Run the script without Python: a shell script or another program."
    )
    python: str | None = setting(
        ours=True,
        metavar="PROGRAM",
        default_text="the launcher's interpreter",
        help="Interpreter of the ranks: a path, or a name on PATH.",
    )
    debug: bool = setting(
        False,
        switch=True,
        env="ACCELERATE_DEBUG_MODE",
        exported=lambda settings: settings[Launcher].debug,
        scope="both",
        common=True,
        help="Check distributed operations in the script, let torch report details, and print whole tracebacks.",
        ask=Question(
            "Should distributed operations be checked while the script runs (finds mismatched "
            "tensors, but is slower)?",
            when=lambda settings: paradigm(settings).kind not in ("NO", "XLA"),
        ),
    )
    quiet: bool = setting(
        False,
        switch=True,
        short="-q",
        ours=True,
        common=True,
        help="Print no summary and no notes; failures are still reported.",
    )
    engine: str | None = setting(
        ours=True,
        registry="accel_launch.engines",
        metavar="NAME",
        default_text="automatic",
        help="Engine that starts the ranks.",
    )
    preload: str | None = setting(
        joins=True,
        ours=True,
        metavar="MODULES",
        help="Modules to import once, before the ranks are forked: names such as `torch,transformers`, "
        "or `auto` for the modules that the script imports first and that are known to be heavy "
        "and safe.",
    )
    keep_warm: Duration | None = setting(
        minimum=0,
        ours=True,
        help="With `--preload`, time such as `10m` for which the imported modules stay in memory after the run: the "
        "same launch has them at once. 0 for not at all.",
    )
    check_memory: str | None = setting(
        key="model",
        ours=True,
        metavar="MODEL",
        help="Model whose training memory is estimated before the start, with flags of `estimate-memory` after it, "
        "such as `'OWNER/NAME --lora_rank 16'`. A run that can't fit the devices is rejected, with what would fit.",
    )
    nice: int = setting(
        0,
        minimum=0,
        maximum=19,
        ours=True,
        help="Niceness of the ranks, as of `nice`; a higher value is a lower priority.",
    )
    wrap: tuple[str, ...] = setting(
        (),
        lines=True,
        ours=True,
        metavar="[RANKS:]COMMAND",
        help="Command such as `'0: py-spy record -o profile.%r.svg --'` to put in front of a rank's own: a profiler, "
        "a debugger, a binding. `RANKS` are `0`, `1-3`, `0,4` or `last`; all without. `%r` is the rank, `%l` the "
        "local rank, `%h` the host, `%n` the run's name, `%%` a percent sign. Can be repeated: the first one is the "
        "outermost.",
    )
    rank_env: tuple[str, ...] = setting(
        (),
        lines=True,
        masked=True,
        ours=True,
        metavar="[RANKS:]NAME=VALUE",
        help="Environment variable for some ranks, such as `'1-3:NCCL_DEBUG=INFO'`; ranks and `%` as with "
        "`--wrap`. Can be repeated.",
    )
    debug_rank: str | None = setting(
        key=None,
        metavar="RANK",
        help="Rank that has the terminal for a debugger (`breakpoint()`, pdb): its input, and Ctrl-C, which goes to "
        "this rank alone. Lines of other ranks have a prefix, and wait while it is at a prompt. `last` is allowed.",
    )
    debug_port: str | None = setting(
        key=None,
        metavar="[ADDRESS:]PORT",
        help="Port at which each rank waits for an editor before its first line, by debugpy; local rank 1 takes the "
        "next one, and so on. With `--debug_rank` only that rank waits. Whoever connects can execute code; without "
        "`ADDRESS`, only from this machine.",
    )
    dry_run: bool = setting(
        False, switch=True, key=None, common=True, help="Print the plan as a shell script, and run nothing."
    )
    json: bool = setting(
        False, switch=True, key=None, help="With `--dry_run`, print the plan as JSON; with `--explain`, the settings."
    )
    explain: str | None = setting(
        switch=True,
        key=None,
        choices=("true", "all"),
        renamed=dict.fromkeys(sorted(TRUE), "true"),
        unset=tuple(sorted(FALSE)),
        common=True,
        help="Print the settings that aren't built in, with their values and origins, and run nothing. `all` prints "
        "every setting.",
    )
    grace: Duration = setting(
        Duration.read("30s"),
        minimum=0,
        ours=True,
        help="Time that ranks have to end after a failure or a signal, before they are killed.",
    )
    stall_after: Duration = setting(
        Duration.read("5m"),
        minimum=1,
        or_zero=True,
        ours=True,
        help="Time such as `10m` without any progress after which the launcher prints what each rank does; 0 for "
        "never. A single process is only watched if this is given, or `--stall_action stacks` or `end`.",
    )
    stall_action: str = setting(
        "note",
        choices=("note", "stacks", "end"),
        ours=True,
        help="What follows when a run stands still: `note` prints it, `stacks` also writes the stack of every "
        "thread to a file in the log folder, or in ~/.local/state/accel/stacks, `end` also ends the run with status "
        "124.",
    )
