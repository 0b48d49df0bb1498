"""One stack on the lab's hosts, driven through the library's front door."""

import contextlib
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from stacksmith import lab
from stacksmith.address import Address
from stacksmith.engine import session
from stacksmith.events import Event
from stacksmith.model.change import Impact
from stacksmith.model.report import Report
from stacksmith.planner.plan import Operation, Plan
from tests.tools.rpcproxy import RpcProxy

BASE = """
stack: {name}
flavors:
  acpi: {{vcpus: 1, ram: 32, disk: 1}}
  cheap: {{vcpus: 1, ram: 32}}
"""


@dataclass
class Site:
    """A stack folder beside a fleet file."""

    name: str
    folder: Path
    fleet: Path
    lab: Path
    events: list[Event] = field(default_factory=list)

    def write(self, text: str) -> None:
        """The stack file's text after the header with its name and flavors."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "stack.yaml").write_text(BASE.format(name=self.name) + text)

    def options(self, **more: object) -> session.Options:
        return session.Options(stack=self.folder, fleet=self.fleet, **more)  # type: ignore[arg-type]

    def plan(self, **more: object) -> Plan:
        return session.plan(self.options(**more)).plan

    def apply(self, allowed: Impact = Impact.LIVE, overwrite_drift: bool = False, **more: object) -> Report:
        """Plans and applies; fails the test when a step fails."""
        report = self.try_apply(allowed, overwrite_drift, **more)
        assert report.exit_status == 0, [(str(r.address), r.cause or r.because) for r in report.results]
        return report

    def try_apply(self, allowed: Impact = Impact.LIVE, overwrite_drift: bool = False, **more: object) -> Report:
        options = self.options(**more)
        what = session.ApplyOptions(allowed=allowed, overwrite_drift=overwrite_drift)
        return session.apply(options, session.plan(options).plan, self.events.append, what)

    def destroy(self) -> Report:
        return self.apply(Impact.DATA_LOSS, destroy=True)

    def virsh(self, host: str, *words: str) -> str:
        """virsh on a host of the lab: the hand that edits live objects."""
        done = subprocess.run(
            lab.command_in(self.lab, host, ["virsh", "-q", *words]), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"virsh {words}: {done.stderr}"
        return done.stdout

    def remove_kept(self) -> None:
        """Deletes the volumes that a destroy keeps."""
        for host in ("hv1", "hv2", "hv3"):
            if "stacksmith" not in self.virsh(host, "pool-list", "--name").split():
                continue
            for line in self.virsh(host, "vol-list", "stacksmith").splitlines():
                if line.split()[:1] and line.split()[0].startswith(f"ss.{self.name}."):
                    self.virsh(host, "vol-delete", line.split()[0], "--pool", "stacksmith")

    def console(self, server: str) -> str:
        """What a server printed on its serial console so far, on whichever host it is."""
        logs = sorted(self.lab.rglob(f"{self.name}-{server}-serial.log"))
        return "\n".join(p.read_text(errors="replace") for p in logs)


@contextlib.contextmanager
def through_proxies(site: Site) -> Iterator[list[RpcProxy]]:
    """One on the way to each host, as long as the context lasts: the site's fleet leads through them."""
    direct = text = site.fleet.read_text()
    with contextlib.ExitStack() as stack:
        wires = []
        for number, real in enumerate(dict.fromkeys(re.findall(r"socket=([^\"'\s]+)", text))):
            wires.append(stack.enter_context(RpcProxy(Path(real), site.lab / f"proxy{number}")))
            text = text.replace(real, str(wires[-1].socket))
        site.fleet.write_text(text)
        try:
            yield wires
        finally:
            site.fleet.write_text(direct)


def settle(site: Site) -> None:
    """Waits until no libvirtd is at what a client that died had asked for: a start, a volume.

    A plan of such a moment would see it halfway.
    """
    for host in ("hv1", "hv2", "hv3"):
        until(lambda host=host: not calls_at_work(site, host), 60, f"libvirtd of {host} has ended its calls")


def calls_at_work(site: Site, host: str) -> int:
    """How many calls libvirtd of a host is at or has yet to begin."""
    argv = lab.command_in(site.lab, host, ["virt-admin", "srv-threadpool-info", "libvirtd"])
    told = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    counts = {name: int(count) for name, count in re.findall(r"(\w+) *: (\d+)", told)}
    return counts["nWorkers"] - counts["freeWorkers"] + counts["jobQueueDepth"]


def operations(plan: Plan) -> list[str]:
    """The steps' ids, as the plan orders them."""
    return [step.id for step in plan.steps]


def changes(plan: Plan, address: str) -> dict[str, tuple[object, object, str]]:
    """{path: (found, wanted, status)} of the update of one address."""
    wanted = Address.parse(address)
    steps = [s for s in plan.steps if s.address == wanted and s.operation is Operation.UPDATE]
    return {c.path: (c.found, c.wanted, c.status.value) for s in steps for c in s.changes}


def deviations(plan: Plan) -> dict[str, list[str]]:
    """{address: paths that drifted, or "missing"}."""
    return {
        str(d.address): ["missing"] if d.missing else [d.problem] if d.problem else [c.path for c in d.changes]
        for d in plan.deviations
    }


def until(truth: Callable[[], object], seconds: float = 60, what: str = "") -> None:
    """Waits for something to become true; fails the test when it does not."""
    deadline = time.monotonic() + seconds
    while not truth():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.1)
