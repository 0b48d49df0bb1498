"""A node through its BMC."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from stacksmith.model.node import Node
from stacksmith.model.node_found import Aspects, NodeFound, NodeInventory, Power
from stacksmith.model.realised import RaidVolume
from stacksmith.model.types import JSON
from stacksmith.providers.base import Deadline, Gone, Refused, TimedOut
from stacksmith.providers.bmc import TWO_REQUESTS
from stacksmith.providers.redfish import firmware, media, power, raid, reading, settings
from stacksmith.providers.redfish.connection import Connection
from stacksmith.providers.redfish.reading import Page

ROOT = "/redfish/v1/"
SYSTEMS = "/redfish/v1/Systems"
FIRMWARE = "/redfish/v1/UpdateService/FirmwareInventory"
EXPAND = "?$expand=.($levels=2)"  # two levels: the drives of a storage are not its members
MIB_A_GIB = 1024


class RedfishSession:
    """See providers.bmc.BmcSession."""

    def __init__(self, name: str, node: Node, password: str, ca: str | None) -> None:
        self._connection = Connection(name, node, password, ca)
        self._name = name
        self._path = node.system
        self._at_once = node.connections

    def observe(self, deadline: Deadline, aspects: Aspects = TWO_REQUESTS) -> NodeFound:
        """The system and its BIOS."""
        system = self._get(self._system(deadline), deadline)
        return self._found(system, deadline)

    def inspect(self, deadline: Deadline) -> NodeInventory:
        """Collections whole where the BMC can ($expand), else page by page; as many at once as it stands."""
        system = self._get(self._system(deadline), deadline)
        can_expand = bool(reading.inside(self._get(ROOT, deadline), "ProtocolFeaturesSupported").get("ExpandQuery"))
        wanted = (reading.link(system, "EthernetInterfaces"), FIRMWARE, reading.link(system, "Storage"))
        with ThreadPoolExecutor(self._at_once) as pool:
            bios = pool.submit(self._found, system, deadline)
            cards, firmware, storages = pool.map(lambda path: self._members(path, can_expand, deadline), wanted)
            found = bios.result()
        cpus = reading.inside(system, "ProcessorSummary")
        nics = [reading.nic(page) for page in cards]
        disks = [reading.disk(page) for each in storages for page in self._pages(each.get("Drives"), deadline)]
        return NodeInventory(
            found=found,
            cpus=reading.number(cpus.get("LogicalProcessorCount")) or reading.number(cpus.get("Count")),
            memory_mib=int(float(reading.inside(system, "MemorySummary").get("TotalSystemMemoryGiB") or 0) * MIB_A_GIB),
            disks=tuple(sorted(disks, key=lambda disk: disk.name)),
            nics=tuple(sorted((nic for nic in nics if nic.mac), key=lambda nic: nic.name)),
            firmware={str(page.get("Name") or page.get("Id")): str(page.get("Version")) for page in firmware},
        )

    def switch_on(self, deadline: Deadline) -> None:
        power.switch(self._connection, self._system(deadline), "On", Power.ON, deadline)

    def switch_off(self, hard: bool, deadline: Deadline) -> None:
        system = self._system(deadline)
        if not hard:
            half = Deadline(deadline.at - deadline.seconds / 2, deadline.clock)
            try:
                return power.switch(self._connection, system, "GracefulShutdown", Power.OFF, half)
            except (TimedOut, Refused) as fault:
                if isinstance(fault, Refused) and fault.path:
                    raise
        power.switch(self._connection, system, "ForceOff", Power.OFF, deadline)

    def set_indicator_led(self, state: str, deadline: Deadline) -> None:
        settings.set_indicator_led(self._connection, self._system(deadline), state, deadline)

    def set_asset_tag(self, tag: str, deadline: Deadline) -> None:
        settings.set_asset_tag(self._connection, self._system(deadline), tag, deadline)

    def check_bios(self, attributes: Mapping[str, JSON], deadline: Deadline) -> Sequence[tuple[str, str]]:
        return settings.check_bios(self._connection, self._system(deadline), attributes, deadline)

    def set_bios(self, attributes: Mapping[str, JSON], deadline: Deadline) -> None:
        settings.set_bios(self._connection, self._system(deadline), attributes, deadline)

    def set_boot(self, mode: str | None, secure_boot: bool | None, deadline: Deadline) -> None:
        settings.set_boot(self._connection, self._system(deadline), mode, secure_boot, deadline)

    def set_raid(self, volumes: Sequence[RaidVolume], deadline: Deadline) -> None:
        raid.set_raid(self._connection, self._system(deadline), volumes, deadline)

    def update_firmware(self, name: str, url: str, version: str, deadline: Deadline) -> None:
        firmware.update(self._connection, name, url, version, deadline)

    def insert_media(self, url: str, deadline: Deadline) -> None:
        media.insert(self._connection, self._system(deadline), url, deadline)

    def eject_media(self, deadline: Deadline) -> None:
        media.eject(self._connection, self._system(deadline), deadline)

    def boot_once(self, device: str, mode: str | None, deadline: Deadline) -> None:
        media.boot_once(self._connection, self._system(deadline), device, mode, deadline)

    def close(self) -> None:
        self._connection.close()

    def _system(self, deadline: Deadline) -> str:
        """The path of the system. Raises: Refused when the BMC has none, or several to choose from."""
        if self._path is None:
            paths = reading.links(self._get(SYSTEMS, deadline))
            if len(paths) != 1:
                found = ", ".join(paths) or "none"
                raise Refused(f"cannot choose the system of {self._name}: there are {found}", "system", "say system:")
            self._path = paths[0]
        return self._path

    def _found(self, system: Page, deadline: Deadline) -> NodeFound:
        path = reading.link(system, "Bios")
        return reading.found(system, self._get(path, deadline) if path else {})

    def _members(self, path: str | None, can_expand: bool, deadline: Deadline) -> list[Page]:
        """The pages of a collection; none when the BMC has no such collection."""
        if path is None:
            return []
        try:
            collection = self._get(f"{path}{EXPAND}" if can_expand else path, deadline)
        except Gone:
            return []
        return self._pages(collection.get("Members"), deadline)

    def _pages(self, entries: JSON, deadline: Deadline) -> list[Page]:
        """The entries of a list as pages: some BMCs take $expand and answer with links all the same."""
        pages = []
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and "@odata.id" in entry:
                is_link = not entry.keys() - {"@odata.id", "@odata.etag"}
                pages.append(self._get(entry["@odata.id"], deadline) if is_link else entry)
        return pages

    def _get(self, path: str, deadline: Deadline) -> Page:
        return self._connection.get(path, deadline)
