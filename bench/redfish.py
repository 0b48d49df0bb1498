"""Bare-metal nodes by their BMCs, each of which takes 0.5 s ± 50 % for an answer and answers two at a time."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import requests

from bench.measure import STACKSMITH, Cost, best
from bench.measure import cost as run
from bench.table import Bar, Row, Table
from stacksmith import lab
from stacksmith.engine.node import AT_ONCE
from stacksmith.engine.observe import AT_ONCE as PLACES
from stacksmith.lab.layout import RACK, layout_of

NODES = 50
LIGHT_NODES = (50, 100, 200, 500)
PROFILES = ["slow", "expand"]
CONNECTIONS = 2  # of a node, at once
ENDING = 8  # that were closed while the next node was opened, and that the BMCs have not seen end
DRIFT_NODES = (50, 500)
STACK = """
stack: rack
fleet: fleet.yaml
flavors: {metal: {vcpus: 1, ram: 1024, extra_specs: {"resources:CUSTOM_BAREMETAL": "1"}}}
servers:
  db: {count: COUNT, flavor: metal, bare_metal: {boot_mode: uefi, bios: {ProcTurboMode: Enabled, PowerCapWatts: 0}}}
"""


def tables(times: int = 3) -> Iterator[Table]:
    """Two tables: what drift needs of every node, and everything of every node; and the same of more and more nodes."""
    with tempfile.TemporaryDirectory(prefix="stacksmith-bench-") as folder, _cache(Path(folder) / "cache"):
        yield _lab(Path(folder) / "lab", times)
        yield Table(
            "Up to 500 bare-metal nodes by Redfish, 0.5 s ± 50 % for each answer",
            "BMCs in front of machines that are pages alone, in one process beside the command. So many nodes are\n"
            f"asked at once: {AT_ONCE}, by drift {PLACES}, each by {CONNECTIONS} connections at most;\n"
            f"up to {ENDING} more may be seen while they end.\n"
            "`node inspect` reads everything anew (`--refresh`). `drift` is that of a stack with a server on each,\n"
            "which declares two BIOS attributes and the boot mode. The BMCs hand out what waits with the BIOS\n"
            "(`$expand`), as the apply before it has found out.",
            tuple(_light(Path(folder), times)),
        )


def _lab(folder: Path, times: int) -> Table:
    there = lab.up(folder, hosts=1, nodes=NODES)
    log = layout_of(folder).home(RACK) / "log" / "bmc.log"
    try:
        for node in there.nodes:
            lab.behave(folder, node.name, PROFILES)
        argv = [STACKSMITH, "--fleet", str(there.fleet), "node"]
        read, drift, all_of_it, kept = (
            best(partial(counted, log, [*argv, *words]), times)
            for words in (["list"], ["drift"], ["inspect", "--refresh"], ["inspect"])
        )
        rows = (
            Row("raw: system and BIOS, 50 threads", best(partial(raw, there), times)),
            Row("node list", read, (Bar("wall s", read.wall_seconds, 2.5), per_node(read, NODES, 2))),
            Row("node drift", drift, (Bar("wall s", drift.wall_seconds, 2.5), per_node(drift, NODES, 2))),
            Row("node inspect", all_of_it, (Bar("wall s", all_of_it.wall_seconds, 4), per_node(all_of_it, NODES, 6))),
            Row("node inspect, again", kept, (per_node(kept, NODES, 2),)),
        )
    finally:
        lab.down(folder)
    return Table(
        "50 bare-metal nodes by Redfish, 0.5 s ± 50 % for each answer",
        "The lab's BMCs in one process, two requests at once in each, `$expand` advertised; calls are requests. `raw`\n"
        "gets the system and the BIOS of every node with requests, without imports; `node list` and `node drift` get\n"
        "the same.\n"
        "`node inspect` keeps what it found: again, it asks as much as `node list`.",
        rows,
    )


def _light(folder: Path, times: int) -> Iterator[Row]:
    """Rows of more and more nodes; the last are held against the first of their command."""
    first: dict[str, Cost] = {}
    for count in LIGHT_NODES:
        with _light_farm(folder / f"light-{count}", count) as farm:
            for words, argv, limit in _commands(farm, count):
                found = best(partial(counted, farm / "bmc.log", argv), times)
                base = first.setdefault(words, found)
                bars = [per_node(found, count, limit)]
                if words == "drift" and count == LIGHT_NODES[0]:
                    bars.append(Bar("wall s", found.wall_seconds, 2.5))
                if count > LIGHT_NODES[0]:
                    share = count / LIGHT_NODES[0]
                    bars.append(Bar("times the seconds", found.wall_seconds / base.wall_seconds, share))
                    bars.append(Bar("times the memory", found.rss_mb / base.rss_mb, 1.5))
                at_once = int((farm / "connections").read_text())
                most = PLACES if words == "drift" else AT_ONCE
                bars.append(Bar("connections at once", at_once, most * CONNECTIONS + ENDING))
                yield Row(f"{count} nodes, {words}", found, tuple(bars))


def _commands(farm: Path, count: int) -> Iterator[tuple[str, list[str], int]]:
    """Name, words and most requests for each node, of what is measured; a stack is applied when its turn comes."""
    fleet = [STACKSMITH, "--fleet", str(farm / "fleet.yaml"), "node"]
    yield "node list", [*fleet, "list"], 2
    yield "node inspect", [*fleet, "inspect", "--refresh"], 6
    if count in DRIFT_NODES:
        yield "drift", [STACKSMITH, "--stack", str(_stack(farm, count)), "drift"], 2


@contextmanager
def _light_farm(folder: Path, count: int) -> Iterator[Path]:
    argv = [sys.executable, "-m", "stacksmith.lab.bmc.light_farm", str(folder), str(count)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as farm:
        try:
            assert farm.stdout is not None
            farm.stdout.readline()
            _behave(folder, count, PROFILES)
            yield folder
        finally:
            farm.kill()


def _behave(folder: Path, count: int, profiles: list[str]) -> None:
    entries = {f"bm{number + 1}": {"profiles": profiles, "more": {}} for number in range(count)}
    draft = folder / "behaviours.new"
    draft.write_text(json.dumps(entries))
    draft.replace(folder / "behaviours.json")


def _stack(farm: Path, count: int) -> Path:
    """A stack with a server on every node, applied while the BMCs are fast."""
    path = farm / "stack.yaml"
    path.write_text(STACK.replace("COUNT", str(count)))
    _behave(farm, count, ["expand"])
    run([STACKSMITH, "--stack", path, "apply", "--yes"])
    _behave(farm, count, PROFILES)
    return path


@contextmanager
def _cache(folder: Path) -> Iterator[None]:
    """Lets commands keep what they keep in a folder of their own."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("XDG_CACHE_HOME")
        if before is not None:
            os.environ["XDG_CACHE_HOME"] = before


def per_node(cost: Cost, count: int, limit: int) -> Bar:
    return Bar("requests per node", sum(cost.calls.values()) / count, limit)


def counted(log: Path, argv: list[str]) -> Cost:
    """The cost of a command with the requests that BMCs were asked meanwhile."""
    start = log.stat().st_size
    found = run(argv)
    with log.open() as file:
        file.seek(start)
        asked = re.findall(r'"([A-Z]+) /redfish', file.read())
    return replace(found, calls={method: asked.count(method) for method in set(asked)})


def raw(there: lab.Lab) -> Cost:
    """Two requests after each other for each node, all nodes at once."""

    def read(node: lab.Node) -> None:
        with requests.Session() as session:
            session.trust_env, session.verify = False, str(node.ca)
            session.auth = (node.username, node.password.read_text().strip())
            system = session.get(node.redfish + node.system, timeout=60).json()
            session.get(node.redfish + system["Bios"]["@odata.id"], timeout=60).raise_for_status()

    began, cpu = time.monotonic(), time.process_time()
    with ThreadPoolExecutor(NODES) as pool:
        list(pool.map(read, there.nodes))
    return Cost(time.monotonic() - began, time.process_time() - cpu, 0, calls={"GET": 2 * NODES})
