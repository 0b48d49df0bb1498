"""Tables of measured costs, as Markdown that reads well in a terminal too."""

from collections.abc import Sequence
from dataclasses import dataclass

from bench.measure import Cost


@dataclass(frozen=True, slots=True)
class Bar:
    """What must hold. ``found`` and ``limit`` are in the unit of ``what``."""

    what: str
    found: float
    limit: float

    @property
    def met(self) -> bool:
        return self.found <= self.limit

    def __str__(self) -> str:
        found = f"{self.found:.0f}" if self.found >= 20 or self.found == int(self.found) else f"{self.found:.2f}"
        return f"{self.what} {found} ≤ {self.limit:.3g}: {'met' if self.met else '**not met**'}"


@dataclass(frozen=True, slots=True)
class Row:
    """One thing measured."""

    what: str
    cost: Cost
    bars: tuple[Bar, ...] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """One benchmark's rows, with what a reader must know of them."""

    title: str
    text: str
    rows: tuple[Row, ...]

    def markdown(self) -> str:
        """The table with its title and text; columns that no row fills are left out."""
        heads = ["", "wall s", "CPU s", "MB", "calls", "writes", "bar"]
        lines = [heads, *map(_cells, self.rows)]
        kept = [i for i in range(len(heads)) if i == 0 or any(line[i] for line in lines[1:])]
        lines = [[line[i] for i in kept] for line in lines]
        widths = [max(len(line[i]) for line in lines) for i in range(len(kept))]
        lines.insert(1, ["-" * width for width in widths])
        body = "\n".join(_line(line, widths) for line in lines)
        return f"## {self.title}\n\n{self.text}\n\n{body}\n"


def _cells(row: Row) -> list[str]:
    cost = row.cost
    counted = bool(cost.calls)
    return [
        row.what,
        f"{cost.wall_seconds:.2f}" if cost.wall_seconds else "",
        f"{cost.cpu_seconds:.2f}",
        f"{cost.rss_mb:.0f}" if cost.rss_mb else "",
        str(sum(cost.calls.values())) if counted else "",
        str(sum(cost.writes.values())) if counted else "",
        "; ".join(map(str, row.bars)),
    ]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"
