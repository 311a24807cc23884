"""How long a step takes: products, links, copies, the optimizer. docs/recommend.md has the model and its sources."""

from __future__ import annotations

from accel_config.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from accel_cli.recommending.speeds import Speed
    from accel_estimate import Recipe
    from accel_estimate.model.blueprint import Blueprint

MOVES = 0.7
"""The part of the speed of memory and links that is reached."""
HOST_MEMORY = 100e9
"""Bytes in a second that an optimizer on the CPU moves, on each machine."""
PLAIN_OPTIMIZER = 6
"""How much longer torch's own optimizer takes on the CPU than DeepSpeed's."""
ADAM = 28
"""Bytes that a step of Adam moves for each parameter: reads of four numbers in float32, and writes of three."""
UNPACKING = 2.5
"""Bytes that are moved to unpack a 4-bit parameter to 16 bits."""
NETWORK = 100.0
"""Gbit in a second between machines, where it isn't set."""


class Work(Record):
    """What a step does with a model, whatever it is spread over."""

    parameters: float
    """All of them."""
    active: float
    """Those that a token is multiplied with."""
    trained: float
    attention: float
    """Operations of attention for each token in the forward pass."""


class Cost(Record):
    """The seconds of a step on each device, by what they go to."""

    compute: float
    """Products of the forward and backward pass."""
    recompute: float
    """Products that are repeated, because activations weren't kept."""
    waiting: float
    """What links and copies take beyond the products that they run beside."""
    optimizer: float

    @property
    def seconds(self) -> float:
        """The whole step."""
        return self.compute + self.recompute + self.waiting + self.optimizer


def work(blueprint: Blueprint, parameters: float, trained: float, length: int) -> Work:
    """Return what a step does with this model, with sequences of ``length`` tokens."""
    idle = attention = 0.0
    for layer in blueprint.layers():
        if layer.experts is not None:
            idle += (layer.experts.number - layer.experts.active) * 3 * blueprint.hidden * layer.experts.width
        for one in (layer.attention, layer.cross):
            if one is not None:
                seen = min(length, one.window or length)
                attention += 2 * seen * (one.query_width + one.out_width)
    looked_up = 0 if blueprint.tied else blueprint.vocab * blueprint.hidden
    return Work(parameters, max(0.0, parameters - idle - looked_up), trained, attention)


def cost(todo: Work, recipe: Recipe, speed: Speed, network: float = NETWORK) -> Cost:
    """Return the seconds of one step of the optimizer; ``network`` is in Gbit a second for each machine."""
    passes, tokens = recipe.gradient_accumulation, recipe.batch_size * recipe.seq_len
    reached = speed.products * speed.reached
    forward = tokens * (2 * todo.active + todo.attention) / reached
    backward = tokens * ((4 if recipe.trains_all else 2) * todo.active + 2 * todo.attention) / reached
    repeated = forward if recipe.gradient_checkpointing == "full" else 0.0
    traffic = _Traffic(todo, recipe, speed, network)
    last = traffic.beside(forward, traffic.gathering) + traffic.beside(
        backward + repeated, traffic.gathering + traffic.reducing
    )
    each = traffic.beside(forward, traffic.gathering) + traffic.beside(
        backward + repeated, traffic.gathering + (traffic.reducing if recipe.zero_stage >= 0 else 0)
    )
    unpacking = 0.0
    if recipe.quantize != "none":
        times = 3 if repeated else 2
        unpacking = times * UNPACKING * todo.parameters / (speed.memory * MOVES)
    return Cost(
        passes * (forward + backward + unpacking),
        passes * repeated,
        last + (passes - 1) * each + traffic.after,
        _optimizer(todo, recipe, speed),
    )


def _optimizer(todo: Work, recipe: Recipe, speed: Speed) -> float:
    if not recipe.offloads_states:
        return ADAM * todo.trained / recipe.shards / (speed.memory * MOVES)
    machines = max(1, recipe.num_processes // recipe.processes_per_machine)
    slower = 1 if recipe.zero_stage >= 0 else PLAIN_OPTIMIZER
    return slower * ADAM * todo.trained / machines / HOST_MEMORY


class _Traffic:
    """The seconds that links and copies take, in each pass and after the last one."""

    def __init__(self, todo: Work, recipe: Recipe, speed: Speed, network: float) -> None:
        self.recipe, self.speed = recipe, speed
        self.machines = max(1, recipe.num_processes // recipe.processes_per_machine)
        self.network = network / 8 * 1e9
        sharded = recipe.fsdp != "none" or recipe.zero_stage == 3  # noqa: PLR2004
        weights = todo.parameters * (0.5 if recipe.quantize != "none" else 2)
        self.gathering = self._ring(weights) if sharded else 0.0
        self.reducing = self._reduction(todo.trained)
        self.after = self._ring(2 * todo.trained) if recipe.zero_stage in (1, 2) else 0.0
        self._add_copies(todo)

    def beside(self, products: float, moves: float) -> float:
        """Return what ``moves`` take beyond the products that they run beside; ZeRO 1 and 2 don't overlap them."""
        return moves if self.recipe.zero_stage in (0, 1, 2) else max(0.0, moves - products)

    def _ring(self, size: float) -> float:
        """Return the time to gather or to reduce ``size`` bytes over the ranks that share the model."""
        ranks = self.recipe.shards
        crosses = ranks > self.recipe.processes_per_machine
        rate = min(self.speed.links, self.network) if crosses else self.speed.links
        return size * (ranks - 1) / ranks / (rate * MOVES)

    def _reduction(self, trained: float) -> float:
        recipe, machines = self.recipe, self.machines
        if recipe.fsdp == "none" and recipe.zero_stage < 1:  # each rank has all gradients, in float32
            ranks = recipe.num_processes
            rate = min(self.speed.links, self.network) if machines > 1 else self.speed.links
            return 2 * 4 * trained * (ranks - 1) / ranks / (rate * MOVES)
        time = self._ring(2 * trained)
        if recipe.fsdp == "hybrid":  # the devices of a machine share its network, and each has its part to send
            time += 2 * 2 * trained * (machines - 1) / machines / (self.network * MOVES)
        return time

    def _add_copies(self, todo: Work) -> None:
        """Add the copies from and to the memory of the CPU: FSDP's weights are there in their own type."""
        recipe, rate = self.recipe, self.speed.host * MOVES * self.recipe.num_processes
        width = 2 if recipe.zero_stage >= 0 else 4
        if recipe.offload_param_device != "none":
            held = 0.5 if recipe.quantize != "none" else 2 if recipe.param_dtype != "float32" else width
            self.gathering += held * todo.parameters / rate
        if recipe.offloads_states:
            self.reducing += width * todo.trained / rate
