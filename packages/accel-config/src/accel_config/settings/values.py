"""What declarations see of the settings: the lowest view, so that a setting's conditions can be typed."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, Protocol, TypeVar

    from accel_config.settings.origin import Value

    class Group(Protocol):
        """A section: `accel_config.settings.declaration.Section`."""

        settings: ClassVar[tuple[Any, ...]]

    G = TypeVar("G", bound=Group)

    class Values(Protocol):
        """The settings, resolved or as answered so far: `accel_config.settings.resolved.Settings`."""

        derived: dict[str, Any]

        def __getitem__(self, section: type[G], /) -> G:
            """Return the section's values."""
            ...

        def value(self, name: str, /) -> Value:
            """Return the value of the setting called ``name`` with its origin."""
            ...

        def origin(self, name: str, /) -> str:
            """Return where the setting's value came from, as text."""
            ...

        def given(self, name: str, /) -> bool:
            """Return whether the setting has another value than the built-in one."""
            ...
