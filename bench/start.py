"""How soon the program is there: ``--help``, and the imports of a plan."""

import sys
from collections.abc import Iterator

from bench.measure import STACKSMITH, best, cost
from bench.table import Bar, Row, Table

PLAN = "stacksmith.cli.app, stacksmith.engine.session, stacksmith.planner.planfile, stacksmith.views.plan_text"
PROVIDER = "stacksmith.providers.libvirt.session"


def tables(times: int = 3) -> Iterator[Table]:
    """One table."""
    times *= 5  # each is short
    bare = best(lambda: cost([sys.executable, "-c", "pass"]), times)
    shown = best(lambda: cost([STACKSMITH, "--help"]), times)
    plan = best(lambda: cost([sys.executable, "-c", f"import {PLAN}"]), times)
    both = best(lambda: cost([sys.executable, "-c", f"import {PLAN}, {PROVIDER}"]), times)
    yield Table(
        "Start-up",
        "Whole processes, compiled modules at hand.",
        (
            Row("python, nothing imported", bare),
            Row("stacksmith --help", shown, (Bar("wall ms", shown.wall_seconds * 1000, 150),)),
            Row("imports of a plan", plan),
            Row("imports of a plan on libvirt", both),
        ),
    )
