"""Where a value came from."""

from accel_config.record import Record

# The layers, strongest first; a value of an earlier one wins.
FLAG, ENVIRONMENT, SCHEDULER, FILE, BUILT_IN = range(5)


class Origin(Record):
    """Where a value came from, as messages and ``--explain`` show it."""

    text: str
    """``--num_processes``, ``default_config.yaml:7``, ``ACCELERATE_LAUNCH_CPU``, ``SLURM_NNODES`` or ``built in``."""
    layer: int = BUILT_IN
    """The layer it belongs to, from 0: flag, environment, scheduler, file, built in. A lower number wins."""

    def __str__(self) -> str:
        """Return the text."""
        return self.text


DEFAULT = Origin("built in")
TO_BE_MADE = Origin("to be made at the end of the wizard", FILE)
"""The origin of the name of something that doesn't exist yet: see `accel_config.asking.makers`."""


class Value(Record):
    """A setting's value with its origin."""

    value: object
    """The value, in the type of its setting; None where it isn't set."""
    origin: Origin = DEFAULT
    """Where the value came from."""

    @property
    def given(self) -> bool:
        """Whether it was set; it isn't the built-in value."""
        return self.origin.layer != BUILT_IN
