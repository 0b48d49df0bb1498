"""SIGKILL anywhere, then the same apply again: the end is as if nothing had happened."""

import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from stacksmith.engine import session
from tests.e2e.kit import Site

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("lab")]

SETTLE_SECONDS = 2.0
ROOT = Path(__file__).parents[2]


@pytest.fixture
def demo(make_site: Callable[[], Site]) -> Site:
    """The demo stack, whose guests are not waited for; most are small ones that do nothing, which leaves time."""
    site = make_site()
    shutil.copytree(ROOT / "stacks" / "demo", site.folder)
    text = (site.folder / "stack.yaml").read_text()
    text = "\n".join(line for line in text.splitlines() if "wait_for" not in line) + "\n"
    text = text.replace("image: lab\n", "image: lab-acpi\n")
    (site.folder / "stack.yaml").write_text(text.replace("stack: demo", f"stack: {site.name}"))
    return site


def start(site: Site, at: int) -> "subprocess.Popen[bytes]":
    argv = [sys.executable, "-m", "tests.e2e.killed", str(at), str(site.folder), str(site.fleet)]
    return subprocess.Popen(argv, cwd=ROOT)


def live(site: Site) -> Counter[tuple[str, str]]:
    """How often each domain, network and volume is on the three hosts: (kind, name with its uuid).

    Which host a server is on is not compared, nor its config drive's digest, which holds the host's zone: a killed
    run leaves a pool, whose size placement then knows.
    """
    found: Counter[tuple[str, str]] = Counter()
    for host in ("hv1", "hv2", "hv3"):
        found.update(("server", line) for line in site.virsh(host, "list", "--all", "--uuid", "--name").splitlines())
        found.update(("network", line) for line in site.virsh(host, "net-list", "--all", "--uuid").splitlines())
        pools = site.virsh(host, "pool-list", "--name").split()
        if "stacksmith" in pools:
            site.virsh(host, "pool-refresh", "stacksmith")
            volumes = site.virsh(host, "vol-list", "stacksmith").splitlines()
            names = (re.sub(r"\.config-[0-9a-f]+\.", ".config.", line.split()[0]) for line in volumes if line.strip())
            found.update(("volume", name) for name in names)
    return Counter({row: count for row, count in found.items() if row[1].strip()})


def converges(site: Site, clean: Counter[tuple[str, str]], whole: Counter[tuple[str, str]], what: str) -> None:
    # libvirtd ends what the dead client had asked for: a start, a volume. A plan of this moment would see it halfway.
    time.sleep(SETTLE_SECONDS)
    site.apply()
    assert live(site) == whole, what
    plan = site.plan()
    left = [(s.id, s.reason, [(c.path, c.found, c.wanted) for c in s.changes]) for s in plan.steps]
    assert left == [], what
    assert plan.claims.there == (), what
    site.destroy()
    assert live(site) == clean, what
    assert session.claims(site.options()) == (), what


def test_killed_at_each_journal_write_then_run_again_ends_the_same(demo: Site) -> None:
    clean = live(demo)
    assert start(demo, 0).wait(120) == 0
    whole = live(demo)
    demo.destroy()
    assert live(demo) == clean
    writes = 2 * 13
    for at in range(1, writes + 1):
        status = start(demo, at).wait(120)
        assert status == -signal.SIGKILL, f"journal write {at}: {status}"
        converges(demo, clean, whole, f"killed at journal write {at}")
    assert start(demo, writes + 1).wait(120) == 0, "the stack makes more journal writes than were tried"


def test_killed_in_the_middle_of_operations_then_run_again_ends_the_same(demo: Site) -> None:
    clean = live(demo)
    began = time.monotonic()
    assert start(demo, 0).wait(120) == 0
    seconds, whole = time.monotonic() - began, live(demo)
    demo.destroy()
    for part in (0.3, 0.45, 0.6, 0.75, 0.9):
        process = start(demo, 0)
        time.sleep(seconds * part)
        process.kill()
        process.wait(30)
        converges(demo, clean, whole, f"killed at {part:.0%} of an apply")
