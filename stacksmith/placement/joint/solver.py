"""HiGHS, the solver of the extra ``[optimal]``: the one module that imports it."""

from collections.abc import Sequence
from dataclasses import field
from enum import StrEnum
from importlib.util import find_spec
from math import inf
from typing import Any

from stacksmith.frozen import dataclass

# Amounts are whole numbers of up to nine digits: no coarser tolerance keeps a row's last unit.
TOLERANCE = 1e-9


def installed() -> bool:
    """True when the solver can be imported."""
    return find_spec("highspy") is not None


@dataclass(slots=True)
class Program:
    """Minimise the cost of whole numbers ``0 <= x <= upper`` under rows ``lower <= sum of a * x <= upper``."""

    costs: list[float] = field(default_factory=list)
    uppers: list[float] = field(default_factory=list)
    rows: list[tuple[float, float]] = field(default_factory=list)
    starts: list[int] = field(default_factory=lambda: [0])
    indices: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def column(self, upper: float, cost: float = 0.0) -> int:
        """Adds a number and returns its index."""
        self.costs.append(cost)
        self.uppers.append(upper)
        return len(self.costs) - 1

    def row(self, lower: float, upper: float, terms: Sequence[tuple[int, float]]) -> None:
        """Adds a row of (column, factor)."""
        self.rows.append((lower, upper))
        self.indices += [column for column, _ in terms]
        self.values += [factor for _, factor in terms]
        self.starts.append(len(self.indices))


class Status(StrEnum):
    """How a solve ended. ``limit``: time or nodes ran out, ``values`` may be there all the same."""

    OPTIMAL = "optimal"
    INFEASIBLE = "infeasible"
    LIMIT = "limit"


@dataclass(frozen=True, slots=True)
class Limits:
    """Where a solve stops: seconds of the solver's own clock, and nodes of its tree."""

    seconds: float
    nodes: int = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Solution:
    """``values`` by column, None when none were found; no solution costs less than ``bound``."""

    status: Status
    values: tuple[int, ...] | None
    bound: float
    seconds: float


def solve(program: Program, limits: Limits, start: Sequence[int] | None = None) -> Solution:
    """Solves on one thread with a fixed seed, so that an equal program has an equal answer unless time runs out.

    ``start`` are the values of a solution that is known. Raises: ImportError without the extra.
    """
    import highspy

    base: Any = highspy.Highs.__base__  # Highs itself greets on stdout when it is made
    highs = base()
    options: dict[str, bool | int | float] = {
        "output_flag": False,
        "threads": 1,
        "random_seed": 0,
        "time_limit": max(0.0, limits.seconds),
        "mip_max_nodes": limits.nodes,
        "mip_rel_gap": 0.0,
        "mip_feasibility_tolerance": TOLERANCE,
        "primal_feasibility_tolerance": TOLERANCE,
    }
    for name, value in options.items():
        highs.setOptionValue(name, value)
    highs.passModel(_model(highspy, program))
    if start is not None:
        known = highspy.HighsSolution()
        known.col_value = [float(value) for value in start]
        highs.setSolution(known)
    highs.run()
    status, info = highs.getModelStatus(), highs.getInfo()
    if status == highspy.HighsModelStatus.kInfeasible:
        return Solution(Status.INFEASIBLE, None, inf, highs.getRunTime())
    found = info.primal_solution_status == highspy.SolutionStatus.kSolutionStatusFeasible
    values = tuple(round(value) for value in highs.getSolution().col_value) if found else None
    done = Status.OPTIMAL if status == highspy.HighsModelStatus.kOptimal and found else Status.LIMIT
    return Solution(done, values, info.mip_dual_bound, highs.getRunTime())


def _model(highspy: Any, program: Program) -> Any:
    made = highspy.HighsLp()
    made.num_col_, made.num_row_ = len(program.costs), len(program.rows)
    made.col_cost_, made.col_lower_, made.col_upper_ = program.costs, [0.0] * len(program.costs), program.uppers
    made.row_lower_, made.row_upper_ = [low for low, _ in program.rows], [high for _, high in program.rows]
    made.integrality_ = [highspy.HighsVarType.kInteger] * len(program.costs)
    made.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    made.a_matrix_.start_, made.a_matrix_.index_ = program.starts, program.indices
    made.a_matrix_.value_ = program.values
    return made
