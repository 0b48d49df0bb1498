"""Places in source files."""

from stacksmith.frozen import dataclass


@dataclass(frozen=True, slots=True)
class Span:
    """A place in a file; line and column count from 1, ``end_column`` is exclusive and on the same line."""

    file: str
    line: int
    column: int
    end_column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"
