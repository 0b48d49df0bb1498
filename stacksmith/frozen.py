"""Dataclasses that are frozen for the type checker alone: they take a third of the time to define, and half to make.

Of a plan's start-up the standard library's frozen dataclasses took a third, and of a large plan a tenth: each defines
seven functions from text, and sets every field by way of ``object.__setattr__``. Of these one is made here; the others
are the same for all classes. mypy refuses an assignment to a field of a frozen one all the same. What
``stacksmith.placement`` takes and gives is the standard library's: people use it without our type checks.
"""

import dataclasses
from operator import attrgetter
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls: type | None = None, /, *, frozen: bool = False, **options: bool) -> Any:
        """As ``dataclasses.dataclass``; a ``frozen`` one has the hash of one, and takes assignments at run time."""

        def made(cls: type) -> type:
            shared = {"__repr__": _repr, "__eq__": _eq, "__hash__": _hash if frozen else None}
            for name in shared.keys() - vars(cls).keys():
                setattr(cls, name, shared[name])
            result = dataclasses.dataclass(cls, repr=False, eq=False, **options)
            compared = [field.name for field in dataclasses.fields(result) if field.compare]
            result._compared = attrgetter(*compared) if compared else type
            return result

        return made if cls is None else made(cls)


def _repr(self: Any) -> str:
    shown = (f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self) if field.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"


def _eq(self: Any, other: Any) -> Any:
    if other.__class__ is not self.__class__:
        return NotImplemented
    compared = self._compared
    return compared(self) == compared(other)


def _hash(self: Any) -> int:
    return hash(self._compared(self))
