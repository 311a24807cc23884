"""Findings of planning: refusals, notes that the launcher prints, and settings that have no effect."""

from __future__ import annotations

from accel_config.errors import AccelError


class Unable(AccelError):
    """The run isn't possible on this machine, though it may be on another one."""


class Findings:
    """Notes and ignored settings. A refusal raises; in a dry run one that depends on this machine becomes a note."""

    def __init__(self, *, lenient: bool) -> None:
        """Start empty. ``lenient`` is True in a dry run."""
        self.lenient = lenient
        self.notes: list[str] = []
        self.ignored: dict[str, str] = {}
        """Settings that have no effect in this run, each with the reason."""
        self.selected = False
        """Whether the engine has asked what is for which rank."""

    def refuse_locally(self, message: str) -> None:
        """Refuse because of this machine.

        Raises:
            Unable: always, except in a dry run.
        """
        if not self.lenient:
            raise Unable(message)
        self.notes.append(message)
