"""OpenStack Placement itself, in this process and on SQLite: ``python openstack_service.py HOSTS SERVERS``.

Run by a Python that has openstack-placement and wsgi-intercept. Prints the CPU seconds that finding candidates and
claiming the first took, as JSON. No HTTP is spoken, no message goes to a bus, and no nova-scheduler is asked.
"""

import json
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from time import process_time
from typing import Any

from oslo_config import cfg  # type: ignore[import-not-found]
from placement import conf, db_api, direct  # type: ignore[import-not-found]

INVENTORIES = {
    "VCPU": {"total": 32, "allocation_ratio": 4.0},
    "MEMORY_MB": {"total": 524288, "reserved": 512},
    "DISK_GB": {"total": 4000},
}
CANDIDATES = "/allocation_candidates?resources=VCPU:2,MEMORY_MB:4096,DISK_GB:20&limit=1000"  # Nova asks for 1,000


def main(hosts: int, servers: int) -> None:
    with tempfile.TemporaryDirectory() as folder, direct.PlacementDirect(_settings(folder), True) as client:
        for number in range(hosts):
            _provider(client, f"hv{number:05}")
        seconds = {"candidates": 0.0, "claims": 0.0}
        for _ in range(servers):
            found = _timed(seconds, "candidates", partial(client.get, CANDIDATES)).json()["allocation_requests"]
            body = _claim(found[0]["allocations"])
            _timed(seconds, "claims", partial(client.put, f"/allocations/{uuid.uuid4()}", json=body))
    print(json.dumps(seconds))


def _settings(folder: str) -> Any:
    file = Path(folder) / "placement.conf"
    file.write_text(f"[placement_database]\nconnection = sqlite:///{folder}/placement.db\nsync_on_startup = True\n")
    settings = cfg.ConfigOpts()
    conf.register_opts(settings)
    settings([], default_config_files=[str(file)])
    db_api.configure(settings)
    return settings


def _provider(client: Any, name: str) -> None:
    made = _done(client.post("/resource_providers", json={"name": name, "uuid": str(uuid.uuid4())})).json()
    body = {"resource_provider_generation": made["generation"], "inventories": INVENTORIES}
    _done(client.put(f"/resource_providers/{made['uuid']}/inventories", json=body))


def _claim(allocations: dict[str, Any]) -> dict[str, Any]:
    resources: Iterable[tuple[str, Any]] = ((name, each["resources"]) for name, each in allocations.items())
    return {
        "allocations": {name: {"resources": amounts} for name, amounts in resources},
        "project_id": "bench",
        "user_id": "bench",
        "consumer_generation": None,
        "consumer_type": "INSTANCE",
    }


def _timed(seconds: dict[str, float], what: str, call: Callable[[], Any]) -> Any:
    began = process_time()
    answer = call()
    seconds[what] += process_time() - began
    return _done(answer)


def _done(answer: Any) -> Any:
    if answer.status_code >= 300:
        raise SystemExit(f"{answer.status_code}: {answer.text}")
    return answer


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
