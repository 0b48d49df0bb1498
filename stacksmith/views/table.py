"""Columns of text."""

from collections.abc import Iterable, Sequence

from stacksmith.views.paint import PLAIN, Paint
from stacksmith.views.words import clean


def table(header: Sequence[str], rows: Iterable[Sequence[str]], paint: Paint = PLAIN) -> list[str]:
    """Left-aligned columns two spaces apart; columns in which no row has anything are left out.

    Newlines inside a cell become spaces, and the last column is never padded.
    """
    cells = [[clean(" ".join(cell.split())) for cell in row] for row in rows]
    used = [i for i in range(len(header)) if not cells or any(row[i] for row in cells)]
    widths = {i: max(len(header[i]), *(len(row[i]) for row in cells)) if cells else len(header[i]) for i in used}

    def line(row: Sequence[str]) -> str:
        return "  ".join(row[i].ljust(widths[i]) for i in used).rstrip()

    return [f"{paint.bold}{line(header)}{paint.reset}", *(line(row) for row in cells)]
