"""A node through its BMC."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from stacksmith.model.node import Node
from stacksmith.model.node_found import Aspects, Coming, NodeFound, NodeInventory, Power
from stacksmith.model.realised import RaidVolume
from stacksmith.model.types import JSON
from stacksmith.providers.base import Deadline, Refused, TimedOut
from stacksmith.providers.bmc import TWO_REQUESTS, Remembered
from stacksmith.providers.redfish import bios, boot, firmware, media, power, raid, reading, settings
from stacksmith.providers.redfish.connection import Connection
from stacksmith.providers.redfish.known import Known
from stacksmith.providers.redfish.reading import Page
from stacksmith.providers.redfish.tree import Tree

MIB_A_GIB = 1024
_Early = tuple[str, Future[Page]]  # where a page was asked for, and what comes of it


class RedfishSession:
    """See providers.bmc.BmcSession."""

    def __init__(self, name: str, node: Node, password: str, ca: str | None, sessions: Path | None = None) -> None:
        self._connection = Connection(name, node, password, ca, sessions)
        folder = sessions.with_name("bmcs") if sessions is not None else None
        self._tree = Tree(self._connection, node.system, Known(folder, f"{node.redfish} {node.system or ''}"))
        self._at_once = node.connections

    @property
    def writes(self) -> int:
        return self._connection.writes

    def observe(self, deadline: Deadline, aspects: Aspects = TWO_REQUESTS) -> NodeFound:
        """The system and its BIOS, and what else is asked for; as much at once as the BMC stands."""
        with self._connection.burst():
            return self._observe(deadline, aspects)

    def coming(self, deadline: Deadline, aspects: Aspects) -> Coming:
        """What waits for the next boot of these: ``pending`` is the boot mode here."""
        return Coming(
            boot.coming_mode(self._tree, deadline) if aspects.pending else None,
            boot.coming_secure_boot(self._tree, deadline) if aspects.secure_boot else None,
            aspects.firmware and firmware.waits(self._tree, deadline),
        )

    def inspect(self, deadline: Deadline, remembered: Remembered = lambda found: None) -> NodeInventory:
        """Collections whole where the BMC can ($expand), else page by page; as many at once as it stands."""
        with self._connection.burst():
            return self._inspect(deadline, remembered)

    def _observe(self, deadline: Deadline, aspects: Aspects) -> NodeFound:
        with ThreadPoolExecutor(self._at_once) as pool:
            early = self._early(pool, aspects, deadline)
            system = self._system(aspects, deadline)
            page = self._bios_of(system, early, pool, aspects, deadline)
            waiting = [pool.submit(read) for read in self._more(system, aspects, deadline)]
            found = self._found(system, page.result(), aspects, deadline)
            return replace(found, **{name: value for read in waiting for name, value in read.result().items()})

    def _early(self, pool: Executor, aspects: Aspects, deadline: Deadline) -> _Early | None:
        """The page where the BIOS was when it was last asked, asked for beside the system, not after it."""
        where = self._tree.known.bios if self._at_once > 1 else None
        return None if where is None else (where, pool.submit(self._bios, where, aspects, deadline))

    def _bios_of(
        self, system: Page, early: _Early | None, pool: Executor, aspects: Aspects, deadline: Deadline
    ) -> Future[Page]:
        """The page of the system's BIOS: what was asked for early, if that is where it is."""
        path = reading.link(system, "Bios")
        self._tree.known.note_bios(path)
        if early is not None and early[0] == path:
            return early[1]
        return pool.submit(self._bios, path, aspects, deadline)

    def _more(self, system: Page, aspects: Aspects, deadline: Deadline) -> Iterator[Callable[[], dict[str, Any]]]:
        """How to read what else is asked for: each gives its fields."""
        tree = self._tree
        if aspects.secure_boot:
            yield lambda: boot.secure_boot(tree, system, deadline)
        if aspects.firmware:
            yield lambda: {"firmware": firmware.versions(tree, deadline)}
        if aspects.raid:
            yield lambda: {"raid": raid.found(tree, system, aspects.drives, deadline)}

    def _system(self, aspects: Aspects, deadline: Deadline) -> Page:
        """The page of the system; what the BMC can is asked beside it, while it is not known how its BIOS comes."""
        tree = self._tree
        if not aspects.pending or tree.known.expands is not None:
            return tree.system(deadline)
        with ThreadPoolExecutor(self._at_once) as pool:
            system, root = pool.submit(tree.system, deadline), pool.submit(tree.root, deadline)
            root.result()
            return system.result()

    def _inspect(self, deadline: Deadline, remembered: Remembered) -> NodeInventory:
        with ThreadPoolExecutor(self._at_once) as pool:
            early = self._early(pool, TWO_REQUESTS, deadline)
            system = self._tree.system(deadline)
            known = remembered(reading.found(system, {}))
            page = self._bios_of(system, early, pool, TWO_REQUESTS, deadline)
            if known is not None:
                return replace(known, found=reading.found(system, page.result()))
            wanted = (reading.link(system, "EthernetInterfaces"), firmware.FIRMWARE, reading.link(system, "Storage"))
            cards, versions, storages = pool.map(lambda path: self._tree.members(path, deadline), wanted)
            found = reading.found(system, page.result())
        cpus = reading.inside(system, "ProcessorSummary")
        nics = [reading.nic(page) for page in cards]
        disks = [reading.disk(page) for each in storages for page in self._tree.pages(each.get("Drives"), deadline)]
        return NodeInventory(
            found=found,
            cpus=reading.number(cpus.get("LogicalProcessorCount")) or reading.number(cpus.get("Count")),
            memory_mib=int(float(reading.inside(system, "MemorySummary").get("TotalSystemMemoryGiB") or 0) * MIB_A_GIB),
            disks=tuple(sorted(disks, key=lambda disk: disk.name)),
            nics=tuple(sorted((nic for nic in nics if nic.mac), key=lambda nic: nic.name)),
            firmware=firmware.versions_of(versions),
        )

    def switch_on(self, deadline: Deadline) -> None:
        power.switch(self._connection, self._tree.path(deadline), "On", Power.ON, deadline)

    def switch_off(self, hard: bool, deadline: Deadline) -> None:
        system = self._tree.path(deadline)
        if not hard:
            half = Deadline(deadline.at - deadline.seconds / 2, deadline.clock)
            try:
                return power.switch(self._connection, system, "GracefulShutdown", Power.OFF, half)
            except (TimedOut, Refused) as fault:
                if isinstance(fault, Refused) and fault.path:
                    raise
        power.switch(self._connection, system, "ForceOff", Power.OFF, deadline)

    def set_indicator_led(self, state: str, deadline: Deadline) -> None:
        settings.set_indicator_led(self._tree, state, deadline)

    def set_asset_tag(self, tag: str, deadline: Deadline) -> None:
        settings.set_asset_tag(self._tree, tag, deadline)

    def check_bios(self, attributes: Mapping[str, JSON], deadline: Deadline) -> Sequence[tuple[str, str]]:
        return bios.check_bios(self._tree, attributes, deadline)

    def set_bios(self, attributes: Mapping[str, JSON], deadline: Deadline) -> None:
        bios.set_bios(self._tree, attributes, deadline)

    def set_boot(self, mode: str | None, secure_boot: bool | None, deadline: Deadline) -> None:
        boot.set_boot(self._tree, mode, secure_boot, deadline)

    def check_raid(self, volumes: Sequence[RaidVolume], deadline: Deadline) -> Sequence[tuple[str, str]]:
        return raid.check_raid(self._tree, volumes, deadline)

    def set_raid(
        self,
        volumes: Sequence[RaidVolume],
        deadline: Deadline,
        doomed: Collection[str] | None = None,
        begins: Callable[[], None] = lambda: None,
    ) -> None:
        raid.set_raid(self._tree, volumes, deadline, doomed, begins)

    def tasks(self, deadline: Deadline) -> str:
        return firmware.tasks(self._tree, deadline)

    def has_failed(self, before: str, deadline: Deadline) -> bool:
        return firmware.has_failed(self._tree, before, deadline)

    def update_firmware(self, name: str, url: str, version: str, deadline: Deadline) -> bool:
        return firmware.update(self._tree, name, url, version, deadline)

    def insert_media(self, url: str, deadline: Deadline) -> None:
        media.insert(self._connection, self._tree.path(deadline), url, deadline)

    def eject_media(self, deadline: Deadline) -> None:
        media.eject(self._connection, self._tree.path(deadline), deadline)

    def boot_once(self, device: str, mode: str | None, deadline: Deadline) -> None:
        media.boot_once(self._connection, self._tree.path(deadline), device, mode, deadline)

    def close(self) -> None:
        self._connection.close()

    def _bios(self, path: str | None, aspects: Aspects, deadline: Deadline) -> Page:
        read = bios.with_settings if aspects.pending else Tree.get
        return read(self._tree, path, deadline) if path else {}

    def _found(self, system: Page, page: Page, aspects: Aspects, deadline: Deadline) -> NodeFound:
        found = reading.found(system, page)
        if not aspects.pending or not page:
            return found
        return replace(found, pending=bios.pending(self._tree, page, deadline))
