"""A plan of a large stack that finds nothing to do, on hosts that are data in a file."""

import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from bench.measure import STACKSMITH, Cost, best, cost
from bench.table import Bar, Row, Table

HOSTS = 100
SMALL, LARGE = 1_000, 10_000

HEAD = """stack: bench
fleet: ../fleet.yaml
flavors: {small: {vcpus: 1, ram: 512, disk: 4}}
images: {tiny: {source: tiny.raw, format: raw}}
networks: {lan: {subnets: [{cidr: 10.0.0.0/16}]}}
servers:
"""
BODY = """    flavor: small
    image: tiny
    networks: [{network: lan}]
    metadata: {role: web}
"""


def count(number: int) -> str:
    """One block with count."""
    return f"{HEAD}  web:\n    count: {number}\n{BODY}"


def for_each(number: int) -> str:
    """One block with a name for each server."""
    return f"{HEAD}  web:\n    for_each: [{', '.join(f'n{i}' for i in range(number))}]\n{BODY}"


def written_out(number: int) -> str:
    """A block for each server."""
    return HEAD + "".join(f"  web{i}:\n{BODY}" for i in range(number))


FORMS: Mapping[str, Callable[[int], str]] = {
    "each written out": written_out,
    "for_each": for_each,
    "count": count,
}


def tables(times: int = 3) -> Iterator[Table]:
    """One table, and one row for each way to write the servers and number of them."""
    rows: list[Row] = []
    for form, write in FORMS.items():
        with tempfile.TemporaryDirectory(prefix="stacksmith-bench-") as folder:
            small, large = (_plan(Path(folder) / str(n), n, write(n), times) for n in (SMALL, LARGE))
        rows.append(Row(f"{SMALL:,} servers, {form}", small))
        bars = (
            Bar("wall s", large.wall_seconds, 5),
            Bar("CPU s", large.cpu_seconds, 5),
            Bar("MB", large.rss_mb, 500),
            Bar("ratio of CPU s", large.cpu_seconds / small.cpu_seconds, 12),
        )
        rows.append(Row(f"{LARGE:,} servers, {form}", large, bars))
    yield Table(
        f"Plan of large stacks that are as they should be, on {HOSTS} hosts of the memory provider",
        "`stacksmith plan` as a user runs it, the hosts' state and the state store each in a file. The ratio compares\n"
        f"the CPU seconds of {LARGE:,} servers with those of {SMALL:,}.",
        tuple(rows),
    )


def _plan(folder: Path, number: int, text: str, times: int) -> Cost:
    stack = folder / "stack"
    stack.mkdir(parents=True)
    (folder / "stacksmith.root").touch()
    (stack / "tiny.raw").write_bytes(b"stacksmith bench" * 256)
    (stack / "stack.yaml").write_text(text)
    cost([sys.executable, "-m", "bench.world", str(folder), str(HOSTS)])
    found = best(lambda: cost([STACKSMITH, "plan", str(stack)]), times)
    if "No changes." not in found.answer:
        raise AssertionError(found.answer)
    return found
