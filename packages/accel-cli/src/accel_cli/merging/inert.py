"""A stranger's pickle, read so that nothing in it can act: what it names becomes an inert value.

Neither the pickle module's own unpickler nor torch's is safe for this. The first calls what it is allowed to name and
lets a pickle set attributes of that; its C version reserves gigabytes for one number. The second has had faults that
ran code. Here the names that a format needs become subclasses of `Named`, which keep what they are given.
"""

# The unpickler in Python has no public name and incomplete types.
# pyright: reportPrivateUsage=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportAttributeAccessIssue=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
# pyright: reportAssignmentType=false

from __future__ import annotations

import io
import pickle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Self

LONGEST = 2**28
"""The most bytes of a pickle that are read: metadata of a million shards has half of them."""

_KEPT = (
    *(
        "PROTO",
        "FRAME",
        "STOP",
        "MARK",
        "POP",
        "POP_MARK",
        "BINGET",
        "LONG_BINGET",
        "BINPUT",
        "LONG_BINPUT",
        "MEMOIZE",
    ),
    *("GLOBAL", "STACK_GLOBAL", "REDUCE", "NEWOBJ", "BUILD", "EMPTY_DICT", "EMPTY_LIST", "LIST", "APPEND", "APPENDS"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1"),
    *("BININT2", "LONG1", "BINFLOAT", "SHORT_BINUNICODE", "BINUNICODE", "BINPERSID"),
)
"""The operations that pickles of torch and of metadata consist of, apart from those that fill a dictionary."""
_LONGEST_NAME = 100
_MOST_NAMES = 100
_TYPES = ("float", "bfloat", "complex", "int", "uint", "bool")
"""How the names of torch's types of plain values begin."""


class Named:
    """What a pickle calls something by its name: the arguments of the call, and the state that it set."""

    name = ""
    """The name with its module, such as ``torch.Size``."""
    arguments: Any
    state: Any

    def __new__(cls, *arguments: Any) -> Self:
        """Keep the arguments."""
        made = super().__new__(cls)
        made.arguments, made.state = arguments, None
        return made

    def __setstate__(self, state: Any) -> None:
        """Keep the state, whatever it is."""
        self.state = state


class Stored(Named):
    """A value that the pickle keeps elsewhere; its argument says where."""

    name = "a stored value"


class _Dict(dict[object, object]):
    """An ordered dictionary, whose attributes are dropped."""

    def __init__(self) -> None:
        super().__init__()

    def __setstate__(self, state: Any) -> None:
        pass


def load(content: bytes, allowed: Callable[[str, str], bool]) -> Any:
    """Return the value in ``content``, of plain types and of `Named`; ``allowed`` judges each module and name.

    Raises:
        ValueError: it names something else, or has operations that no such file has.
        Exception: it isn't a pickle.
    """
    if len(content) > LONGEST:
        raise ValueError(f"it has {len(content):,} bytes, more than the {LONGEST:,} that are accepted")
    return _Reader(content, allowed).load()


def is_torch_type(module: str, name: str) -> bool:
    """Return whether a name can be a type of plain values."""
    return module == "torch" and name.startswith(_TYPES) and name.isidentifier()


class _Reader(pickle._Unpickler):
    def __init__(self, content: bytes, allowed: Callable[[str, str], bool]) -> None:
        super().__init__(io.BytesIO(content))
        self._allowed, self._names = allowed, dict[tuple[str, str], type[Named]]()

    def load(self) -> Any:
        try:
            return super().load()
        except KeyError:
            raise ValueError("it has operations that metadata doesn't need") from None

    def find_class(self, module: str, name: str) -> Any:
        """Return an inert class for a name.

        Raises:
            ValueError: it isn't allowed, or there are too many.
        """
        if (module, name) == ("collections", "OrderedDict"):
            return _Dict
        if not self._allowed(module, name) or len(self._names) > _MOST_NAMES:
            raise ValueError(f"it names {f'{module}.{name}'[:_LONGEST_NAME]}, which metadata doesn't need")
        key = (module, name)
        if key not in self._names:
            self._names[key] = type("Named", (Named,), {"name": f"{module}.{name}"})
        return self._names[key]

    def persistent_load(self, pid: Any) -> Stored:
        return Stored(pid)

    def _set_items(self) -> None:
        items: list[Any] = self.pop_mark()
        for key, value in zip(items[::2], items[1::2], strict=True):
            _put(self.stack[-1], key, value)

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        _put(self.stack[-1], key, value)

    dispatch = {  # noqa: RUF012
        **{ord(getattr(pickle, name)): pickle._Unpickler.dispatch[ord(getattr(pickle, name))] for name in _KEPT},
        ord(pickle.SETITEMS): _set_items,
        ord(pickle.SETITEM): _set_item,
    }


def _put(target: Any, key: Any, value: Any) -> None:
    """Set a key, which is text or a named value: the hash of a tuple in a million tuples would end the process."""
    if type(target) not in (dict, _Dict) or not (type(key) is str or isinstance(key, Named)):
        raise ValueError("it has a dictionary with keys that metadata doesn't need")
    target[key] = value
