"""A plan that finds nothing to do, on one host: every domain, volume and network is read."""

from collections.abc import Iterator
from functools import partial

from bench.measure import best
from bench.site import Wire, site
from bench.table import Bar, Row, Table

RTT_SECONDS = (0.0, 0.02)
COUNTS = (20, 100)


def tables(times: int = 3) -> Iterator[Table]:
    """One table, and one row for each way, number of servers and round trip."""
    rows: list[Row] = []
    with site() as there:
        for count in COUNTS:
            for rtt in RTT_SECONDS:
                with there.wire(rtt) as wire:
                    wire.want(count)
                    wire.apply()
                    rows += _rows(wire, count, rtt, times)
        with there.wire(0) as wire:
            wire.stacksmith("destroy", "--yes")
    yield Table(
        "Plan of servers that are as they should be, on one libvirt host",
        "Servers are defined and do not run; each has an overlay disk and an interface on one network. `raw` lists\n"
        "the domains and volumes and reads the XML of each with libvirt-python; its wall seconds are without imports,\n"
        "those of `stacksmith plan` are of the whole process.",
        tuple(rows),
    )


def _rows(wire: Wire, count: int, rtt: float, times: int) -> Iterator[Row]:
    name = f"{count} servers, {rtt * 1000:.0f} ms round trip"
    for threads in (1, 4):
        plural = "s" if threads > 1 else ""
        yield Row(f"{name}: raw, {threads} thread{plural}", best(partial(wire.raw, "plan", 0, threads), times))
    found = best(partial(wire.stacksmith, "plan"), times)
    if "No changes." not in found.answer:
        raise AssertionError(found.answer)
    bars = [Bar("writes", sum(found.writes.values()), 0)]
    if count == 20:
        bars += [
            Bar("calls", sum(found.calls.values()), 60),
            Bar("CPU s", found.cpu_seconds, 0.7),
            Bar("MB", found.rss_mb, 90),
        ]
    elif rtt:
        bars.append(Bar("wall s", found.wall_seconds, 1.5))
    yield Row(f"{name}: stacksmith", found, tuple(bars))
