"""Dataclasses that are frozen for the type checker alone: they take half the time to define and to make.

Of a plan's start-up the standard library's frozen dataclasses took a third, and of a large plan a tenth: each defines
seven functions from text, and sets every field by way of ``object.__setattr__``. mypy refuses an assignment to a field
of one all the same. Those of ``stacksmith.placement``'s public interface, which people use without our type checks, are
the standard library's.
"""

import dataclasses
from typing import TYPE_CHECKING, Any

__all__ = ["dataclass"]

if TYPE_CHECKING:
    from dataclasses import dataclass
else:

    def dataclass(cls: type | None = None, /, *, frozen: bool = False, **options: bool) -> Any:
        """As ``dataclasses.dataclass``; a ``frozen`` one has the hash of one, and takes assignments at run time."""

        def made(cls: type) -> type:
            if "__repr__" not in cls.__dict__:
                cls.__repr__ = _repr
            hashed = frozen and "__hash__" not in cls.__dict__
            return dataclasses.dataclass(cls, repr=False, unsafe_hash=hashed, **options)

        return made if cls is None else made(cls)


def _repr(self: Any) -> str:
    shown = (f"{field.name}={getattr(self, field.name)!r}" for field in dataclasses.fields(self) if field.repr)
    return f"{type(self).__qualname__}({', '.join(shown)})"
