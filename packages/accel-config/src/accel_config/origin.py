"""Where a value came from."""

from .record import Record

# The layers, strongest first; a value of an earlier one wins.
FLAG, ENVIRONMENT, SCHEDULER, FILE, BUILT_IN = range(5)


class Origin(Record):
    """The place that a value came from, as errors and ``--explain`` quote it."""

    text: str
    """``--num_processes``, ``default_config.yaml:7``, ``ACCELERATE_LAUNCH_CPU``, ``SLURM_NNODES`` or ``built in``."""
    layer: int = BUILT_IN

    def __str__(self) -> str:
        """Return the text."""
        return self.text


DEFAULT = Origin("built in")
TO_BE_MADE = Origin("to be made at the end of the wizard", FILE)
"""Of a value that names what isn't there yet: see `accel_config.makers`."""


class Value(Record):
    """A setting's value with its origin."""

    value: object
    origin: Origin = DEFAULT

    @property
    def given(self) -> bool:
        """Whether anyone said it, rather than it being built in."""
        return self.origin.layer != BUILT_IN
