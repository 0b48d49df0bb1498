"""Finding a host and claiming it, beside OpenStack Placement itself.

``OPENSTACK_PYTHON`` names a Python that has openstack-placement and wsgi-intercept: its many packages are none of ours.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from time import process_time

from bench.candidates import request, world
from bench.measure import Cost, Failed
from bench.placement import measure_one_by_one
from bench.table import Row, Table
from stacksmith.placement import Claim, Ledger, candidates, claim_faults
from stacksmith.state.sqlite import SqliteStore

SERVERS, HOSTS = 1000, 1000
THEIRS, OURS = 20, 50


def tables(times: int = 3) -> Iterator[Table]:
    """One table; of each row the least of so many runs."""
    python = os.environ.get("OPENSTACK_PYTHON")
    if python is None:
        print("openstack: not run, OPENSTACK_PYTHON names no Python that has openstack-placement", file=sys.stderr)
        return
    found, claimed = min((_placement(python) for _ in range(times)), key=sum)
    every = min(_through_store(HOSTS) for _ in range(times))
    first = min(_through_store(1) for _ in range(times))
    memory = min(measure_one_by_one(10_000, HOSTS).cost.cpu_seconds / 10_000 for _ in range(times))
    theirs = found + claimed
    rows = (
        _row("OpenStack Placement: all candidates", found),
        _row("OpenStack Placement: a claim", claimed),
        _row("stacksmith: all candidates, and a claim in the store", every, theirs),
        _row("stacksmith: the first candidate, and a claim in the store", first, theirs),
        _row("stacksmith: the host chosen by filters and weighers, and taken in memory", memory, theirs),
    )
    yield Table(
        f"{SERVERS:,} servers on {HOSTS:,} hosts, one by one, beside OpenStack Placement",
        "Placement 16 is in one process with its caller and on SQLite: no HTTP, and no nova-scheduler, which chooses\n"
        "among the candidates. stacksmith's store is SQLite too. A plan does as the last row, and claims all that it\n"
        f"placed in one transaction. Measured with {THEIRS} servers there, {OURS} and more here.",
        rows,
    )


def _placement(python: str) -> tuple[float, float]:
    """CPU seconds of one server: its candidates, its claim."""
    script = Path(__file__).with_name("openstack_service.py")
    done = subprocess.run([python, "-P", script, str(HOSTS), str(THEIRS)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(done.stderr[-4000:])
    seconds = json.loads(done.stdout)
    return seconds["candidates"] / THEIRS, seconds["claims"] / THEIRS


def _through_store(most: int) -> float:
    """CPU seconds of one server: so many candidates, and the claim of one."""
    ledger = Ledger(world(HOSTS))
    check = partial(claim_faults, {provider.uuid: provider for provider in ledger.world.providers})
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore.open(Path(folder) / "state.db")
        began = process_time()
        for number in range(OURS):
            found = list(islice(candidates(ledger, request()), most))
            store.claim("bench", [Claim(f"server-{number}", found[number % most].allocations)], check)
        seconds = process_time() - began
        store.close()
    return seconds / OURS


def _row(what: str, seconds: float, theirs: float | None = None) -> Row:
    ratio = f", {theirs / seconds:,.0f} times as fast" if theirs else ""
    return Row(f"{what}{ratio}", Cost(0, seconds * SERVERS, 0))
