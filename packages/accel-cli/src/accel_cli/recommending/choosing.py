"""The strategies for a model on some devices: which fit, and how long a step takes in each."""

from __future__ import annotations

from accel_cli.recommending.cost import cost, work
from accel_cli.recommending.speeds import SPEEDS
from accel_config.errors import AccelError
from accel_config.record import Record
from accel_estimate import Ask, EstimateError, Recipe, estimate, read_devices, strategies
from accel_estimate.answer.changes import RANK
from accel_estimate.devices import cards
from accel_estimate.devices.units import GIB
from accel_estimate.errors import LARGEST
from accel_estimate.estimation.subject import blueprint_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from accel_cli.recommending.cost import Cost
    from accel_estimate import Devices, Strategy
    from accel_estimate.model.checkpoint import Model

METHODS: dict[str, dict[str, object]] = {
    "full": {},
    "lora": {"lora_rank": RANK},
    "qlora": {"lora_rank": RANK, "quantize": "nf4"},
}
"""What is trained: the recipe's fields that each method sets."""
WITH_PACKED = ("single", "ddp", "zero2", "zero3", "qlora-fsdp", "qlora-fsdp-offload")
"""The strategies for 4-bit weights."""
CHECKPOINTING = ("none", "full")
LENGTH = 2048
NARROW = {"param_dtype": "bfloat16", "mixed_precision": "no"}  # under mixed precision, FSDP makes weights float32
CHANGES: dict[str, dict[str, str]] = {
    "weights in bfloat16 without mixed precision": NARROW,
    "an 8-bit optimizer": {"optimizer": "adamw_8bit"},
    "weights in bfloat16 without mixed precision and an 8-bit optimizer": {**NARROW, "optimizer": "adamw_8bit"},
}
"""Changes of what is trained that save memory, the cheapest first."""
EQUAL = 1.05
"""Times up to this ratio aren't told apart: the model is coarser."""
SHORT = 0.005
"""Nor are times that differ by fewer seconds: what Python and launches of kernels take in a step isn't counted."""


class Question(Record):
    """What is asked: a model on devices, and how it is to be trained."""

    devices: str
    method: str = "full"
    batch_size: int = 1
    seq_len: int | None = None
    """None: 2,048 tokens, or what the model can if that is less."""
    gradient_accumulation: int = 1
    checkpointing: str = "auto"
    network: float = 100.0


class Choice(Record):
    """One strategy, with the checkpointing that makes it fastest where it fits."""

    strategy: Strategy
    cost: Cost

    @property
    def name(self) -> str:
        """Its name: that of its preset, or ``single``."""
        return self.strategy.name

    @property
    def tokens(self) -> float:
        """Tokens in a second on all devices together."""
        recipe = self.strategy.recipe
        each = recipe.batch_size * recipe.seq_len * recipe.gradient_accumulation
        return each * recipe.num_processes / self.cost.seconds

    @property
    def certain(self) -> bool:
        """Whether it fits even if an implementation takes the most."""
        return self.strategy.high <= self.strategy.limit


class Answer(Record):
    """Every strategy: first those that fit, the fastest first; then the others, the smallest first."""

    model: str
    question: Question
    devices: Devices
    fitting: tuple[Choice, ...]
    others: tuple[Choice, ...]
    notes: tuple[str, ...]
    architecture: str = ""
    """The class that config.json names; empty: none."""
    instead: str = ""
    """What makes offloading unnecessary, where only strategies that offload fit; empty: nothing that is known."""

    @property
    def best(self) -> Choice | None:
        """The first that fits even if an implementation takes the most, else the first that fits."""
        return next((one for one in self.fitting if one.certain), next(iter(self.fitting), None))


def choose(model: Model, question: Question) -> Answer:
    """Return the strategies; the question of the answer has the length.

    Raises:
        AccelError: the devices aren't known, or the model's family isn't.
    """
    if not 0 < question.network < LARGEST:
        raise AccelError(f"--network: must be above 0 and finite, not {question.network:g}")
    try:
        devices = read_devices(question.devices)
    except EstimateError as error:
        raise AccelError(str(error).replace("--fits", "--devices", 1)) from None
    blueprint = blueprint_of(model)
    if question.seq_len is None:
        question = question.replace(seq_len=min(LENGTH, blueprint.positions or LENGTH))
    if blueprint.fixed:
        question = question.replace(seq_len=blueprint.encoder_tokens)
    length = question.seq_len or 0
    card, note = _card(devices)
    speed = SPEEDS[card.name]
    recipe = Recipe(
        mixed_precision="bf16" if card.bf16 else "fp16",
        batch_size=question.batch_size,
        seq_len=length,
        gradient_accumulation=question.gradient_accumulation,
    ).replace(**METHODS[question.method])
    if not recipe.trains_all:  # frozen weights can be in the format that is computed in
        recipe = recipe.replace(param_dtype="bfloat16" if card.bf16 else "float16")
    report = estimate(model, Ask(dtypes=("float32",), training=recipe))
    trained = report.training.trainable if report.training is not None else report.parameters
    todo = work(blueprint, float(report.parameters), trained, length)
    found: dict[str, list[Choice]] = {}
    wanted = CHECKPOINTING if question.checkpointing == "auto" else (question.checkpointing,)
    for checkpointing in wanted:
        for one in strategies(model, devices, recipe.replace(gradient_checkpointing=checkpointing)):
            if _suits(one.name, question.method):
                made = Choice(one, cost(todo, one.recipe, speed, question.network))
                found.setdefault(one.name, []).append(made)
    best = [_best(choices) for choices in found.values()]
    fitting = [one for one in best if one.strategy.fits]
    return Answer(
        model.name,
        question,
        devices,
        tuple(_ordered(fitting)),
        tuple(sorted((one for one in best if not one.strategy.fits), key=lambda one: one.strategy.expected)),
        (*devices.notes, *note, *report.notes),
        _architecture(model),
        _instead(model, devices, recipe.replace(gradient_checkpointing=wanted[-1])) if _all_offload(fitting) else "",
    )


def _all_offload(choices: list[Choice]) -> bool:
    return bool(choices) and all(one.strategy.host for one in choices)


def _instead(model: Model, devices: Devices, recipe: Recipe) -> str:
    """Return the cheapest changes of weights and optimizer with which a strategy fits that offloads nothing."""
    if not recipe.trains_all:
        return ""
    for how, names in CHANGES.items():
        if devices.bf16 or "bfloat16" not in names.values():
            for one in strategies(model, devices, recipe.replace(**names)):
                if one.fits and not one.host and one.recipe.trains_all:
                    return f"{one.name} ({one.expected / GIB:.1f} GiB) fits with {how}"
    return ""


def _architecture(model: Model) -> str:
    found: object = model.config.get("architectures")
    first: object = found[0] if isinstance(found, list) and found else ""  # pyright: ignore[reportUnknownVariableType]
    return first if isinstance(first, str) and first.isascii() and first.isidentifier() else ""


def _ordered(choices: list[Choice]) -> Iterator[Choice]:
    """Yield choices, the fastest first; those that are about as fast in their own order, the simplest first."""
    left: list[Choice] = choices
    while left:
        fastest = min(one.cost.seconds for one in left)
        most = max(EQUAL * fastest, fastest + SHORT)
        yield from (one for one in left if one.cost.seconds <= most)
        left = [one for one in left if one.cost.seconds > most]


def here() -> str:
    """Return this machine's devices as `--devices` names them.

    Raises:
        AccelError: there are none, or they can't be named.
    """
    from accel_launch.machine.host import Host

    devices = Host.here().devices
    if not devices or not devices[0].model:
        found = "has no accelerator" if not devices else f"has {len(devices)} accelerators of an unknown model"
        raise AccelError(f"this machine {found}; give --devices, such as 8xh100 or 4x24GiB")
    return f"{len(devices)}x{devices[0].model}"


def _best(choices: list[Choice]) -> Choice:
    """Return the first that surely fits, else the first that fits; more checkpointing is never faster."""
    fitting = [one for one in choices if one.certain] or [one for one in choices if one.strategy.fits]
    return fitting[0] if fitting else min(choices, key=lambda one: one.strategy.expected)


def _suits(name: str, method: str) -> bool:
    return name in WITH_PACKED if method == "qlora" else not name.startswith("qlora")


def _card(devices: Devices) -> tuple[cards.Card, tuple[str, ...]]:
    """Return the devices' card, or the nearest one with a note where it isn't known.

    Raises:
        AccelError: they are TPUs.
    """
    name = devices.name
    card = cards.named(name)
    if card is None:
        known = [one for one in cards.CARDS if one.name in SPEEDS]
        card = min(known, key=lambda one: abs(one.given * GIB - devices.limit))
        return card, (f"How fast {name} is isn't known: {card.name} is assumed.",)
    if card.name not in SPEEDS:
        raise AccelError(f"--devices {devices.text}: torch_xla spreads a model over TPUs in its own way")
    return card, ()
