"""Applies FOLDER/stack to hosts in memory and writes them to FOLDER/world.json: ``python -m bench.world FOLDER HOSTS``.

In a process of its own, whose size is not that of what is measured. An apply straight to the file would write it anew
at each of its steps.
"""

import gc
import sys
from pathlib import Path

from stacksmith.engine import session
from stacksmith.model.change import Impact
from stacksmith.providers.memory.provider import world

CAPACITY = "vcpus=256&memory_mib=1048576&disk_gib=20000"


def write_fleet(path: Path, uri: str, hosts: int) -> None:
    """A fleet of which every host is in the world ``uri``."""
    lines = [f"  hv{number:03}: {{libvirt: '{uri}?{CAPACITY}'}}" for number in range(hosts)]
    path.write_text("\n".join(["fleet: bench", "state: sqlite:///state.db", "hosts:", *lines, ""]))


def main() -> None:
    gc.freeze()
    gc.disable()
    folder, hosts = Path(sys.argv[1]).absolute(), int(sys.argv[2])
    write_fleet(folder / "memory.yaml", "memory:bench", hosts)
    write_fleet(folder / "fleet.yaml", f"memory://{folder}/world.json", hosts)
    options = session.Options(stack=folder / "stack", fleet=folder / "memory.yaml")
    what = session.ApplyOptions(allowed=Impact.LIVE)
    report = session.apply(options, session.plan(options).plan, lambda event: None, what)
    if report.exit_status:
        raise SystemExit(f"{len(report.failed)} steps failed: {report.failed[:3]}")
    here, there = world("memory:bench"), world(f"memory://{folder}/world.json?{CAPACITY}")
    for name in [f"hv{number:03}" for number in range(hosts)]:
        with there.changing(name) as state:
            for item in here.objects(name):
                state.put(item)


if __name__ == "__main__":
    main()
