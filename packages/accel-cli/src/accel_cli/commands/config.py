"""`config`: accel-config's own command, and `config recommend`, which also needs accel-estimate."""

from __future__ import annotations

from accel_config import AccelError, cli, front
from accel_config.errors import FAILED
from accel_config.showing.console import data, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser, Namespace
    from collections.abc import Sequence

    from accel_cli.recommending.choosing import Answer, Choice, Question

HELP = "List the strategies that fit a model on some devices, the fastest first; write the config file of one."


def main(argv: Sequence[str] | None = None, program: str = "accelerate-config") -> int:
    """Run the command; return the exit status."""
    return cli.main(argv, program, COMMANDS)


def parser(program: str) -> ArgumentParser:
    """Return the parser of the command's arguments."""
    return cli.parser(program, COMMANDS)


def _arguments(parser: ArgumentParser) -> None:
    def number(name: str, default: int | None, text: str) -> None:
        text = text if default is None else f"{text} [default: {default}]"
        spelled = dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}"))
        parser.add_argument(*spelled, type=int, default=default, metavar="N", help=text)

    parser.add_argument("model", metavar="MODEL", help="Repository on the Hub, folder, or weight file.")
    parser.add_argument(
        "--devices",
        metavar="DEVICES",
        help="Devices, such as h100, 8xh100, 2x8xh100 (two machines of eight) or 4x24GiB. [default: this machine's]",
    )
    parser.add_argument(
        "--method",
        choices=("full", "lora", "qlora"),
        default="full",
        help="What is trained: all weights, adapters, or adapters on 4-bit weights. [default: full]",
    )
    number("batch_size", 1, "Sequences on one device in one pass.")
    number("seq_len", None, "Tokens in each sequence. [default: 2048, or what the model can if that is less]")
    number("gradient_accumulation", 1, "Passes for each step of the optimizer.")
    parser.add_argument(
        "--checkpointing",
        choices=("auto", "none", "full"),
        default="auto",
        help="Recompute activations: where it is needed, never, or always. [default: auto]",
    )
    parser.add_argument(
        "--network", type=float, default=100.0, metavar="GBIT", help="Gbit a second between machines. [default: 100]"
    )
    result = parser.add_mutually_exclusive_group()
    result.add_argument("--json", action="store_true", help="Print JSON: bytes and seconds.")
    result.add_argument("--write", action="store_true", help="Write the config file of the first that surely fits.")
    parser.add_argument("--strategy", metavar="NAME", help="With --write: the strategy to write instead.")
    parser.add_argument("--overwrite", action="store_true", help="With --write: replace a file that exists.")


def _recommend(arguments: Namespace, program: str) -> int:
    for flag in ("strategy", "overwrite", "config_file"):
        if getattr(arguments, flag, None) and not arguments.write:
            raise AccelError(f"--{flag}: has no effect without --write")
    answer = _answer(arguments)
    chosen = _chosen(answer, arguments.strategy) if arguments.write else None
    if arguments.json:
        import json

        from accel_cli.recommending.showing import as_json

        data(json.dumps(as_json(answer), indent=2) + "\n")
    else:
        from accel_cli.recommending.showing import table

        show(table(answer))
        if chosen is None and answer.best is not None:
            show(f"`{program} recommend` with --write makes the config file of {answer.best.name}\n")
    if not answer.fitting:
        return FAILED
    return _write(answer, chosen, arguments, program) if chosen is not None else 0


def _answer(arguments: Namespace) -> Answer:
    from accel_cli.recommending.choosing import Question, choose, here
    from accel_estimate import load
    from accel_estimate.showing.progress import Progress

    question: Question = Question(
        arguments.devices or here(),
        arguments.method,
        arguments.batch_size,
        arguments.seq_len,
        arguments.gradient_accumulation,
        arguments.checkpointing,
        arguments.network,
    )
    with Progress() as progress:
        model = load(arguments.model, progress=progress)
    return choose(model, question)


def _chosen(answer: Answer, name: str | None) -> Choice | None:
    """Return the strategy to write; None where none fits.

    Raises:
        AccelError: there is no such strategy, or it doesn't fit.
    """
    if name is None:
        return answer.best
    barely = [one for one in answer.others if one.strategy.barely]
    found = next((one for one in (*answer.fitting, *barely) if one.name == name), None)
    if found is None:
        names = ", ".join(one.name for one in answer.fitting) or "none"
        raise AccelError(f"--strategy {name}: no strategy of that name fits; those that fit: {names}")
    return found


def _write(answer: Answer, chosen: Choice, arguments: Namespace, program: str) -> int:
    from accel_cli.recommending import writing
    from accel_config.asking import wizard

    path = cli.location(arguments)[0]
    text = writing.text(answer, chosen, path)
    status = wizard.write(path, text, program, overwrite=arguments.overwrite, shown=False)
    if path.endswith(".json") and status == 0:
        front.tell("add to the training script", writing.script(answer, chosen))
    return status


COMMANDS: dict[str, cli.Command] = {"recommend": (_recommend, HELP, _arguments)}
