"""50 bare-metal nodes by their BMCs, each of which takes 0.5 s ± 50 % for an answer and answers two at a time."""

import re
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import requests

from bench.measure import STACKSMITH, Cost, best
from bench.measure import cost as run
from bench.table import Bar, Row, Table
from stacksmith import lab
from stacksmith.lab.layout import RACK, layout_of

NODES = 50


def tables(times: int = 3) -> Iterator[Table]:
    """One table: what drift needs of every node, and everything of every node."""
    folder = Path(tempfile.mkdtemp(prefix="stacksmith-bench-")) / "lab"
    there = lab.up(folder, hosts=1, nodes=NODES)
    try:
        for node in there.nodes:
            lab.behave(folder, node.name, ["slow", "expand"])
        read, all_of_it = (
            best(partial(counted, folder, [STACKSMITH, "--fleet", str(there.fleet), "node", word]), times)
            for word in ("list", "inspect")
        )
        rows = (
            Row("raw: system and BIOS, 50 threads", best(partial(raw, there), times)),
            Row("node list", read, (Bar("wall s", read.wall_seconds, 2.5), per_node(read, 2))),
            Row("node inspect", all_of_it, (Bar("wall s", all_of_it.wall_seconds, 4), per_node(all_of_it, 6))),
        )
    finally:
        lab.down(folder)
    yield Table(
        "50 bare-metal nodes by Redfish, 0.5 s ± 50 % for each answer",
        "The lab's BMCs in one process, two requests at once in each, `$expand` advertised; calls are requests. `raw`\n"
        "gets the system and the BIOS of every node with requests, without imports; `node list` gets the same and is\n"
        "what drift needs.",
        rows,
    )


def per_node(cost: Cost, limit: int) -> Bar:
    return Bar("requests per node", sum(cost.calls.values()) / NODES, limit)


def counted(folder: Path, argv: list[str]) -> Cost:
    """The cost of a command with the requests that BMCs were asked meanwhile."""
    log = layout_of(folder).home(RACK) / "log" / "bmc.log"
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
