"""How the launcher itself behaves: what it runs, what it shows, how long it waits."""

from ..section import Section, setting


class Launcher(Section, title="Launcher"):
    """What is run and what is said about it."""

    config_file: str | None = setting(
        key=None,
        variables=("ACCELERATE_CONFIG_FILE",),
        help="File to read settings from. Without it the default file is read where there is one, "
        "unless --cpu is given.",
    )
    module: bool = setting(
        False, switch=True, short="-m", ours=True, help="Run the script as a Python module, like 'python -m'."
    )
    no_python: bool = setting(
        False, switch=True, ours=True, help="Run the script itself, without Python: a shell script or a program."
    )
    python: str | None = setting(
        ours=True,
        help="Interpreter of the ranks, a path or a name on PATH. Unset: our own.",
    )
    debug: bool = setting(
        False,
        switch=True,
        env="ACCELERATE_DEBUG_MODE",
        exported=lambda settings: settings[Launcher].debug,
        scope="both",
        asked=lambda settings: settings.paradigm.kind not in ("NO", "XLA"),
        ask="Should distributed operations be checked while running? It finds mismatched tensors, and is slower",
        help="Check distributed operations in the script, ask torch for details, and report whole tracebacks.",
    )
    quiet: bool = setting(
        False,
        switch=True,
        short="-q",
        ours=True,
        help="Print no summary and no notes. Failures are still reported.",
    )
    engine: str | None = setting(
        ours=True,
        help="What starts the ranks: exec, local, torchrun, deepspeed, mpi, slurm, or another package's. "
        "Without it, what suits the settings.",
    )
    preload: str | None = setting(
        joins=True,
        ours=True,
        help="Import these modules once and fork the ranks from there: names such as torch,transformers, or 'auto' "
        "for what the script imports first and is known to be heavy and safe.",
    )
    nice: int = setting(0, minimum=0, maximum=19, ours=True, help="Run the ranks at a lower priority, as nice does.")
    dry_run: bool = setting(
        False, switch=True, key=None, help="Print what would be run, as a shell script, and run nothing."
    )
    json: bool = setting(False, switch=True, key=None, help="With --dry_run: print the plan as JSON.")
    explain: bool = setting(
        False, switch=True, key=None, help="Print every setting with its value and where that came from; run nothing."
    )
    grace: float = setting(
        30.0,
        minimum=0,
        ours=True,
        help="Seconds that ranks get to end by themselves after a failure or a signal, before they are killed.",
    )
