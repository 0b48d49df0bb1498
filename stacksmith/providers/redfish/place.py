"""A bare-metal node as a place that has one server, as a host has many."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Final

from stacksmith.model import raid
from stacksmith.model.found import Found, HostSnapshot, Unmanaged
from stacksmith.model.machine_identity import MACHINE, fault
from stacksmith.model.node import Node
from stacksmith.model.node_found import Aspects, NodeFound, Power
from stacksmith.model.realised import Machine, from_data, to_data
from stacksmith.model.types import JSON
from stacksmith.providers.base import Deadline, Driver, Refused, Scope
from stacksmith.providers.bmc import Access, Deployer, NeedsPower, Starting
from stacksmith.providers.redfish.machine import MachineDriver
from stacksmith.providers.redfish.session import RedfishSession

HALF: Final = "half made"  # the fingerprint of a server that a run did not finish


def open_place(name: str, node: Node, access: Access, deployer: Deployer | None) -> "NodePlace":
    """A node as a place for servers. Nothing is asked of its BMC yet."""
    return NodePlace(name, node, access, deployer)


class NodePlace:
    """See providers.base.Session."""

    def __init__(self, name: str, node: Node, access: Access, deployer: Deployer | None) -> None:
        self.host = name
        self._access = access
        self._bmc = RedfishSession(name, node, access.password, access.ca, access.sessions)
        self.drivers: Mapping[str, Driver] = {"server": MachineDriver(self, self._bmc, node, deployer)}
        self.occupant = access.occupant

    def observe(self, scope: Scope, deadline: Deadline) -> HostSnapshot:
        """The node, with its server when one is recorded; what is on without a record is nobody's."""
        seen = self._bmc.observe(deadline, self._access.aspects)
        facts: dict[str, JSON] = {"power": str(seen.power_state), MACHINE: list(seen.identity)}
        facts |= self._volumes(seen)
        found = self.server(seen, deadline)
        strange = found is None and seen.power_state is not Power.OFF
        detail = f"it is {seen.power_state}, and nothing says what it runs"
        unmanaged = (Unmanaged("server", self.host, self.host, seen.uuid, detail=detail),) if strange else ()
        return HostSnapshot(self.host, found=(found,) if found else (), unmanaged=unmanaged, facts=facts)

    def read(self, deadline: Deadline) -> Found | None:
        """The server now."""
        return self.server(self._bmc.observe(deadline, self._access.aspects), deadline)

    def server(self, seen: NodeFound, deadline: Deadline) -> Found | None:
        """The recorded server as the node is: what the BMC cannot tell is as it was applied, and what was applied to a
        node that is off, and waits for its next boot, is so already. Raises: Refused when it is another machine."""
        occupant = self.occupant
        if occupant is None:
            return None
        if (other := fault(self.host, str(occupant.address), occupant.machine, seen.identity)) is not None:
            raise Refused(other[0], "redfish", other[1])
        facts: dict[str, JSON] = {"state": str(seen.power_state), MACHINE: list(seen.identity)}
        facts |= self._volumes(seen)
        if not occupant.complete:
            return Found(occupant.address, self.host, occupant.uuid, self.host, None, HALF, partial=True, facts=facts)
        applied = from_data("server", occupant.applied)
        assert isinstance(applied, Machine)
        spec = self._with_coming(self._live(applied, seen), applied, seen, deadline)
        pending = {name: value for name, value in seen.pending.items() if name in spec.bios}
        secured = None if spec.secure_boot is None else seen.secure_boot_next
        secured = spec.secure_boot if secured is None else secured
        waits = replace(spec, bios={**spec.bios, **pending}, secure_boot=secured)
        saved = waits if pending or waits != spec else None
        print_of = _fingerprint(spec, saved)
        return Found(occupant.address, self.host, occupant.uuid, self.host, spec, print_of, saved=saved, facts=facts)

    def _volumes(self, seen: NodeFound) -> dict[str, JSON]:
        return raid.facts(seen.raid) if self._access.aspects.raid and seen.raid is not None else {}

    def _with_coming(self, live: Machine, applied: Machine, seen: NodeFound, deadline: Deadline) -> Machine:
        """The live server of a node that is off, with what of its boot settings was applied and comes with the next
        boot. The BMC is asked for that only where something is not as it was applied."""
        unlike = Aspects(
            pending=applied.boot_mode not in (None, live.boot_mode),
            secure_boot=applied.secure_boot not in (None, live.secure_boot),
            firmware=any(live.firmware.get(name, version) != version for name, version in applied.firmware.items()),
        )
        if seen.power_state is not Power.OFF or unlike == Aspects():
            return live
        coming = self._bmc.coming(deadline, unlike)
        told = {name: version for name, version in applied.firmware.items() if name in live.firmware}
        is_secured = unlike.secure_boot and coming.secure_boot is applied.secure_boot
        return replace(
            live,
            boot_mode=coming.boot_mode if unlike.pending and coming.boot_mode == applied.boot_mode else live.boot_mode,
            secure_boot=applied.secure_boot if is_secured else live.secure_boot,
            firmware={**live.firmware, **told} if coming.firmware else live.firmware,
        )

    def _live(self, applied: Machine, seen: NodeFound) -> Machine:
        aspects, access = self._access.aspects, self._access
        return replace(
            applied,
            power_state="stopped" if seen.power_state in (Power.OFF, Power.POWERING_OFF) else "running",
            boot_mode=seen.boot_mode,
            secure_boot=seen.secure_boot if aspects.secure_boot else applied.secure_boot,
            bios={name: _bios(name, applied, seen) for name in sorted(access.bios)},
            firmware={name: seen.firmware.get(name, "") for name in sorted(access.firmware)},
            raid=raid.as_applied(applied.raid, seen.raid) if aspects.raid and seen.raid is not None else applied.raid,
            indicator_led=seen.indicator_led,
            asset_tag=seen.asset_tag,
        )

    def faults(self, wanted: Machine, deadline: Deadline) -> Sequence[tuple[str, str, str]]:
        """BIOS attributes that the BMC's registry does not take, volumes that its controllers cannot make, and firmware
        that it cannot be brought to."""
        bios = self._bmc.check_bios(wanted.bios, deadline) if wanted.bios else ()
        raid: Sequence[tuple[str, str]] = ()
        with suppress(NeedsPower, Starting):  # it is told when they are made
            raid = self._bmc.check_raid(wanted.raid, deadline) if wanted.raid else ()
        faults = [("bios", name, cause) for name, cause in bios] + [("raid", name, cause) for name, cause in raid]
        there = self._bmc.observe(deadline, Aspects(firmware=True)).firmware if wanted.firmware else {}
        for name, version in wanted.firmware.items():
            if name not in there:
                faults.append(("firmware", name, f"it has no such firmware, but {', '.join(sorted(there)) or 'none'}"))
            elif there[name] != version and name not in wanted.firmware_images:
                faults.append(("firmware", name, f"it has {there[name]}, and no image of {version} is named"))
        return faults

    def close(self) -> None:
        self._bmc.close()


def _bios(name: str, applied: Machine, seen: NodeFound) -> JSON:
    """The value in force; of a node that is off, the one that was applied when it comes with the next boot."""
    if seen.power_state is Power.OFF and name in seen.pending and seen.pending[name] == applied.bios.get(name):
        return seen.pending[name]
    return seen.bios.get(name)


def _fingerprint(*specs: Machine | None) -> str:
    data = [None if spec is None else to_data(spec) for spec in specs]
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()
