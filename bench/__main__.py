"""Runs benchmarks and prints their tables: ``python -m bench [NAME…] [--times N] [--write]``."""

import argparse
import importlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from bench.measure import ROOT, compiled
from bench.table import Table

NAMES = (
    *("start", "plan_memory", "plan_libvirt", "create_libvirt"),
    *("placement", "candidates", "openstack", "optimal"),
    "redfish",
)
PAGE = ROOT / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

Written by `python -m bench --write`. A virtual machine of {cores} cores, Debian 12, CPython 3.11; guests by emulation
(TCG), which matters to none of these: no guest runs. The load was {load:.0f} when it was done: with more than {cores}
the wall seconds are those of a machine that does other things too, and the CPU seconds are the better measure, though
not free of it. Each number is the least of several runs, of the whole process with its imports. What must hold on any
machine, the numbers of calls, is held by `tests/e2e/test_calls.py`.
"""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Benchmarks, each beside the same by hand.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; default: all")
    parser.add_argument("--times", type=int, default=3, help="runs of each, of which the least counts")
    parser.add_argument("--write", action="store_true", help=f"write the tables into {PAGE.relative_to(ROOT)}")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(NAMES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}")
    made, before_seconds = [], _pace_seconds()
    with compiled():
        for table in _tables(options.names or NAMES, options.times):
            print(table.markdown(), flush=True)
            made.append(table)
    if options.write:
        head = HEAD.format(cores=os.cpu_count(), load=os.getloadavg()[2])
        before, *sections = PAGE.read_text().split("\n## ")
        known = {text.partition("\n")[0]: f"## {text.strip()}\n" for text in sections}
        pace = (
            f"\nPython added 20 million numbers in {before_seconds:.1f} s before and {_pace_seconds():.1f} s after it."
        )
        known |= {table.title: replace(table, text=table.text + pace).markdown() for table in made}
        PAGE.write_text("\n".join([f"{before.rstrip()}\n" if options.names else head, *known.values()]))
    return 0


def _pace_seconds() -> float:
    """How fast the machine is just now: virtual ones have good and bad hours."""
    began, total = time.process_time(), 0
    for number in range(20_000_000):
        total += number
    return time.process_time() - began


def _tables(names: Sequence[str], times: int) -> Iterator[Table]:
    for name in names:
        yield from importlib.import_module(f"bench.{name}").tables(times)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
