"""Twenty servers made on one host: a network, an overlay volume and a definition for each."""

import sys
from collections.abc import Iterator
from functools import partial

from bench.measure import Cost, best, cost
from bench.site import Wire, site
from bench.table import Bar, Row, Table

COUNT = 20
# What `apply` imports, also the modules that it asks for when it needs them.
IMPORTS = (
    "import stacksmith.cli.app, stacksmith.cli.carry_out, stacksmith.engine.session, stacksmith.planner.planfile, "
    "stacksmith.providers.libvirt.check, stacksmith.providers.libvirt.provider, stacksmith.providers.libvirt.session, "
    "stacksmith.state.sqlite, stacksmith.views.event_text, stacksmith.views.notice, stacksmith.views.outcome, "
    "stacksmith.views.plan_text, yaml"
)


def tables(times: int = 3) -> Iterator[Table]:
    """One table, and one row for each way and round trip."""
    rows: list[Row] = []
    imports = best(lambda: cost([sys.executable, "-c", IMPORTS]), times)
    with site() as there:
        for rtt in (0.0, 0.02):
            with there.wire(rtt) as wire:
                wire.want(1)
                wire.apply()
                if not rtt:
                    wire.raw("hold")  # the image stays, for all that follow
                wire.stacksmith("destroy", "--yes")
                wire.want(COUNT)
                rows += _rows(wire, rtt, imports, times)
    yield Table(
        f"{COUNT} servers made on one libvirt host",
        "A network, and for each server an overlay volume and a definition; the image is on the host. `raw` does it\n"
        "with libvirt-python, looking for nothing that is there already; its wall seconds are without imports.\n"
        "`stacksmith apply` plans, applies, journals every step, and its seconds are of the whole process.",
        (Row("start-up and imports of stacksmith", imports), *rows),
    )


def _rows(wire: Wire, rtt: float, imports: Cost, times: int) -> Iterator[Row]:
    name = f"{rtt * 1000:.0f} ms round trip"
    raw = {}
    for threads in (1, 4):
        raw[threads] = best(partial(_raw, wire, threads), times)
        yield Row(f"{name}: raw, {threads} thread{'s' if threads > 1 else ''}", raw[threads])
    found = best(partial(_stacksmith, wire), times)
    limit = 1.5 * raw[4].wall_seconds + imports.wall_seconds
    bars = (Bar("calls", sum(found.calls.values()), 120), Bar("wall s", found.wall_seconds, limit))
    yield Row(f"{name}: stacksmith", found, bars)


def _raw(wire: Wire, threads: int) -> Cost:
    made = wire.raw("create", COUNT, threads)
    wire.raw("destroy")
    return made


def _stacksmith(wire: Wire) -> Cost:
    made = wire.apply()
    wire.stacksmith("destroy", "--yes")
    return made
