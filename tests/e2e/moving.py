"""Moves of one server, ``web``, with its files, to another host of the lab; also killed in the middle."""

import re
import signal

from stacksmith.address import Address
from stacksmith.engine import session
from stacksmith.model.change import Impact
from stacksmith.model.report import Report
from stacksmith.planner.aim import Aim
from stacksmith.planner.plan import Operation, Plan
from tests.e2e import killed
from tests.e2e.kit import Site, through_proxies
from tests.forked import Forked

WEB = Address("server", "web")
HOSTS = ("hv1", "hv2", "hv3")


def where(site: Site) -> str:
    """The one host that has the domain; files of the stack are there, and nowhere else."""
    hosts = holders(site)
    assert len(hosts) == 1, hosts
    files = {h: own_files(site, h) for h in HOSTS}
    assert {h for h, names in files.items() if names} == set(hosts), files
    return hosts[0]


def holders(site: Site) -> list[str]:
    """The hosts that have the domain."""
    return [h for h in HOSTS if f"{site.name}-web" in site.virsh(h, "list", "--all", "--name").split()]


def own_files(site: Site, host: str) -> list[str]:
    """The volumes of the stack in the pool of a host."""
    if "stacksmith" not in site.virsh(host, "pool-list", "--name").split():
        return []
    site.virsh(host, "pool-refresh", "stacksmith")
    names = (line.split()[0] for line in site.virsh(host, "vol-list", "stacksmith").splitlines() if line.strip())
    return [name for name in names if name.startswith(f"ss.{site.name}.")]


def plan_to_empty(site: Site, host: str) -> Plan:
    """The moves that empty a host."""
    return session.rebalance(site.options(), Aim(frozenset({host}))).plan


def empty(site: Site, host: str) -> Report:
    """Plans and makes the moves that empty a host."""
    made = plan_to_empty(site, host)
    return session.apply(site.options(), made, site.events.append, session.ApplyOptions(allowed=Impact.MIGRATE))


def fail_at_the_other_host(site: Site, made: Plan) -> str:
    """Makes the moves of a plan while a stranger's guest of the same name makes the destination refuse, which it
    names."""
    step = next(s for s in made.steps if s.operation is Operation.MIGRATE and s.address == WEB)
    xml = f"<domain type='qemu'><name>{site.name}-web</name><memory>16384</memory><os><type>hvm</type></os></domain>"
    file = site.folder / "stranger.xml"
    file.write_text(xml)
    site.virsh(step.host, "define", str(file))
    report = session.apply(site.options(), made, site.events.append, session.ApplyOptions(allowed=Impact.MIGRATE))
    assert [(r.operation, r.kind) for r in report.failed] == [("migrate", "refused")], report.failed
    site.virsh(step.host, "undefine", f"{site.name}-web")
    return step.host


def uptimes(site: Site) -> list[int]:
    """Seconds that the guest said it was up, on all hosts it was on."""
    return sorted(int(text) for text in re.findall(r"UP (\d+)\.", site.console("web")))


def start_emptying(site: Site, host: str, at_write: int = 0) -> Forked:
    """A process that empties a host; it kills itself at a journal write."""
    return Forked(killed.main, at_write, site.folder, site.fleet, host)


def kill_emptying(site: Site, host: str, at: int | str) -> None:
    """Kills one that empties a host: at a journal write, or when a libvirt call has gone to a host, which gets it."""
    if isinstance(at, int):
        assert start_emptying(site, host, at).wait(120) == -signal.SIGKILL
        return
    with through_proxies(site) as proxies:
        running: list[Forked] = []
        for proxy in proxies:
            proxy.sent = lambda call: running[0].kill() if call == at else None
        running.append(start_emptying(site, host))
        assert running[0].wait(120) == -signal.SIGKILL, f"it made no call {at}"
