"""SIGKILL anywhere, then the same apply again: the end is as if nothing had happened."""

import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from stacksmith.engine import session
from tests.e2e import killed
from tests.e2e.end_state import Thing, differences, live, make_pools
from tests.e2e.kit import Site, settle
from tests.forked import Forked

pytestmark = [pytest.mark.e2e, pytest.mark.takes(150), pytest.mark.xdist_group("lab")]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def demo(make_site: Callable[[], Site]) -> Site:
    """The demo stack, whose guests are not waited for; most are small ones that do nothing, which leaves time, and of
    the three alike one is started."""
    site = make_site()
    fleet = yaml.safe_load(site.fleet.read_text())
    # The memory alone decides, and no two hosts are equal: of whatever a killed run has made, on whatever machine, the
    # rest finds the same places.
    fleet["scheduler"] = {"weight_classes": ["RAMWeigher"]}
    for host, reserved in zip(("hv1", "hv2", "hv3"), (512, 1536, 2560), strict=True):
        fleet["hosts"][host]["reserved"] = {"MEMORY_MB": reserved}
    site.fleet.write_text(yaml.safe_dump(fleet))
    shutil.copytree(ROOT / "stacks" / "demo", site.folder)
    text = (site.folder / "stack.yaml").read_text()
    text = "\n".join(line for line in text.splitlines() if "wait_for" not in line) + "\n"
    text = text.replace("    image: lab-disk\n", "    image: lab-disk\n    availability_zone: rack-b\n")
    text = text.replace("image: lab\n", "image: lab-acpi\n").replace("ram: 128}", "ram: 128, disk: 1}")
    count = '    count: "{{ var.web_count }}"\n'
    text = text.replace(count, count + """    power_state: "{{ 'running' if index == 0 else 'stopped' }}"\n""")
    (site.folder / "stack.yaml").write_text(text.replace("stack: demo", f"stack: {site.name}"))
    return site


def small(site: Site) -> None:
    """The server that boots a kernel from its disk gets a disk image that only waits for its power button."""
    image = site.folder / "small.qcow2"
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", site.lab / "images" / "acpi.img", image], check=True)
    stack = site.folder / "stack.yaml"
    text = stack.read_text().replace("image: lab-disk", "image: small")
    stack.write_text(text + "\nimages: {small: {source: small.qcow2, format: qcow2}}\n")


def start(site: Site, at: int) -> Forked:
    return Forked(killed.main, at, site.folder, site.fleet)


def converges(site: Site, clean: Counter[Thing], whole: Counter[Thing], what: str) -> None:
    settle(site)
    site.apply()
    assert differences(live(site), whole) == [], what
    plan = site.plan()
    left = [(s.id, s.reason, [(c.path, c.found, c.wanted) for c in s.changes]) for s in plan.steps]
    assert left == [], what
    assert plan.claims.there == (), what
    site.destroy()
    assert differences(live(site), clean) == [], what
    assert session.claims(site.options()) == (), what


def test_killed_at_each_journal_write_then_run_again_ends_the_same(demo: Site) -> None:
    small(demo)
    make_pools(demo)
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
    stack = demo.folder / "stack.yaml"  # the image is what takes its time, not the kernel that would boot from it
    stack.write_text(
        stack.read_text().replace("    image: lab-disk\n", "    image: lab-disk\n    power_state: stopped\n")
    )
    make_pools(demo)
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
