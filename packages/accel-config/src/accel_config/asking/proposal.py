"""Which answer is proposed: what the earlier file holds, or what suits the machine and the answers so far."""

from __future__ import annotations

from accel_config.asking.answers import KINDS
from accel_config.catalogue.hardware import SHARDABLE
from accel_config.record import Record
from accel_config.settings.paradigm import SHARDED
from accel_config.writing.spelling import plain

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from accel_config.asking.answers import Answers
    from accel_config.settings.declaration import Setting
    from accel_config.settings.machine import MachineFacts
    from accel_config.settings.origin import Value


class Proposal(Record):
    """The answers that can be proposed to one question."""

    usual: Any
    """The one where there is no earlier file."""
    earlier: Any = None
    """The one of the earlier file; None where it holds none."""

    @property
    def best(self) -> Any:
        """The answer to propose."""
        return self.usual if self.earlier is None else self.earlier


def propose(setting: Setting, answers: Answers, machine: MachineFacts, earlier: Mapping[str, Value]) -> Proposal:
    """Return the proposals for ``setting``."""
    proposed: Any = setting.ask.default if setting.ask else None
    if callable(proposed):
        proposed = proposed(answers.settings(), machine)
    usual = setting.default if proposed is None else proposed
    return Proposal(usual, _earlier(setting, answers, machine, earlier))


def _earlier(setting: Setting, answers: Answers, machine: MachineFacts, earlier: Mapping[str, Value]) -> Any:
    """Return what the earlier file holds; None where the answers so far rule it out."""
    found = earlier.get(setting.name)
    value = None if found is None else found.value
    kind = earlier.get("distributed_type")
    if setting.name in KINDS and setting.key is None:
        value = None if kind is None else kind.value == KINDS[setting.name]
    elif kind is not None and setting.name == "distributed_type" and kind.value in SHARDED:
        suits = machine.distributed_type
        value = suits if suits in SHARDABLE else SHARDABLE[0]
    return None if value is None or answers.refusal(setting, plain(setting, value)) else value
