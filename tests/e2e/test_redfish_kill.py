"""All settings of a node, of a new server and of one that is there, killed at each request that changes something, then
run again."""

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import killed_write
from tests.e2e.bmc_parts import served
from tests.e2e.light_parts import LightBmc, light_farm
from tests.forked import Forked

pytestmark = [pytest.mark.e2e, pytest.mark.takes(100), pytest.mark.xdist_group("light")]
BMCS = 24
AT_ONCE = 4
Moment = tuple[int, bool]  # the write, and whether it is sent before the end
STACK = """\
stack: shop
fleet: fleet.yaml
flavors: {gold: {vcpus: 1, ram: 1024, extra_specs: {"resources:CUSTOM_BAREMETAL": "1"}}}
servers:
  db: {flavor: gold, power_state: POWER, bare_metal: SETTINGS}
"""
BEFORE = {
    "boot_mode": "bios",
    "secure_boot": False,
    "bios": {"PowerCapWatts": 300},
    "raid": [{"name": "system", "raid_type": "RAID1", "drives": ["Bay0", "Bay1"]}],
    "asset_tag": "R1",
    "indicator_led": "off",
}


class Case:
    """A node, and the stack that it is for."""

    def __init__(self, bmc: LightBmc, folder: Path) -> None:
        self.bmc, self.folder, self.before = bmc, folder, 0
        folder.mkdir()
        fields = {**bmc.fields, "ca": str(bmc.node.ca), "password": {"file": str(bmc.node.password)}}
        (folder / "fleet.yaml").write_text(json.dumps({"fleet": "f", "nodes": {bmc.node.name: fields}}))

    def declare(self, power_state: str, settings: dict[str, object]) -> None:
        self.before = len(self.bmc.writes())
        text = STACK.replace("SETTINGS", json.dumps(settings)).replace("POWER", power_state)
        (self.folder / "stack.yaml").write_text(text)

    def start(self, *words: str, at: int = 0, is_sent: bool = False) -> Forked:
        argv = (words[0], str(self.folder / "stack.yaml"), *words[1:])
        return Forked(killed_write.main, self.folder / "said", at, is_sent, *argv)

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text()

    @property
    def writes(self) -> list[str]:
        """Since the last declaration."""
        return self.bmc.writes()[self.before :]

    def check(self) -> None:
        """Everything is as wanted, and what can be sent once only was."""
        page = self.bmc.get()
        assert (page["PowerState"], page["AssetTag"], page["IndicatorLED"]) == ("On", "R2", "Lit")
        assert self.bmc.get("/BIOS")["Attributes"]["PowerCapWatts"] == 150
        assert self.bmc.get("/SecureBoot")["SecureBootCurrentBoot"] == "Enabled"
        sent = [each.rpartition("/")[2] for each in self.writes if each.startswith("POST")]
        assert (sent.count("UpdateService.SimpleUpdate"), sent.count("Volumes")) == (1, 1)


def every(moments: dict[Moment, Case], status: int, *words: str, dies: bool = False) -> None:
    """The command for each, some at a time; each has to end so."""
    left = list(moments.items())
    while left:
        some, left = left[:AT_ONCE], left[AT_ONCE:]
        running = [
            (moment, case, case.start(*words, at=moment[0] if dies else 0, is_sent=moment[1])) for moment, case in some
        ]
        for moment, case, process in running:
            assert process.wait(120) == status, f"{words[0]}, for one killed at {moment}: {case.said}"


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("images")
    (folder / "bios-2.bin").write_text("BIOS 2.0.0\n")
    with served(folder, "127.0.0.1") as url:
        yield url


@pytest.mark.parametrize("change", ["create", "update"])
def test_change_that_is_killed_at_any_write_is_finished_by_the_same_command(
    tmp_path_factory: pytest.TempPathFactory, images: str, change: str
) -> None:
    """At each write before it is sent, and for what is not the same when it is sent twice after it was answered too."""
    folder = tmp_path_factory.mktemp("kill")
    raid = [{"name": "system", "raid_type": "RAID0", "drives": ["Bay0", "Bay1"]}]
    firmware = {"BIOS firmware": {"version": "2.0.0", "image": f"{images}/bios-2.bin"}}
    after = {"boot_mode": "uefi", "secure_boot": True, "bios": {"PowerCapWatts": 150}, "raid": raid}
    after |= {"asset_tag": "R2", "indicator_led": "lit", "firmware": firmware}
    apply = ("apply", "--yes", "--allow", "data-loss")

    def prepared(moments: list[Moment], farm: list[LightBmc]) -> dict[Moment, Case]:
        cases = {moment: Case(farm.pop(), folder / f"{moment[0]}-{moment[1]}") for moment in moments}
        for case in cases.values():
            case.bmc.behave("raid", "boot-mode-by-bios")
            case.declare("unmanaged", BEFORE)
        if change == "update":
            every(cases, 0, "apply", "--yes")
        for case in cases.values():
            assert change == "create" or case.bmc.reset("On") == 204
            case.declare("running" if change == "create" else "unmanaged", after)
        return cases

    with light_farm(folder / "farm", BMCS) as farm:
        whole = prepared([(0, False)], farm)
        every(whole, 0, *apply)
        (writes,) = [case.writes for case in whole.values()]
        moments = [(at, False) for at in range(1, len(writes) + 1)]
        moments += [(at, True) for at, each in enumerate(writes, 1) if each.startswith("POST")]
        killed = prepared(moments, farm)
        every(killed, -signal.SIGKILL, *apply, dies=True)
        every(killed, 0, *apply)
        every(killed, 0, "plan", "--detailed-exitcode")
        for moment, case in {**whole, **killed}.items():
            try:
                case.check()
            except AssertionError as fault:
                raise AssertionError(f"killed at {moment} of {writes}") from fault
