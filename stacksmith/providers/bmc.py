"""What reaches bare-metal nodes: a session per BMC. The faults are those of every provider (``providers/base.py``)."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Protocol, runtime_checkable

from stacksmith.address import Address
from stacksmith.frozen import dataclass
from stacksmith.model.machine_identity import UNKNOWN, Identity
from stacksmith.model.node_found import Aspects, NodeFound, NodeInventory
from stacksmith.model.realised import Machine, RaidVolume
from stacksmith.model.types import JSON
from stacksmith.providers.base import Deadline, Refused, Transient
from stacksmith.providers.deployment import Cleaning, Job

TWO_REQUESTS = Aspects()


@dataclass(frozen=True, slots=True)
class Occupant:
    """The server that the state store has on a node: BMCs keep no mark.

    ``applied`` is its data as last applied; ``complete`` is False while a run makes it, or when that was killed;
    ``machine`` is the one that it was made on.
    """

    address: Address
    uuid: str
    applied: JSON
    complete: bool = True
    machine: Identity = UNKNOWN


@dataclass(frozen=True, slots=True)
class Access:
    """How a node is opened: the password of its BMC's user, the authority's file, who is on it, and what to read.

    ``bios`` and ``firmware`` are the declared names: others are not looked at. ``sessions`` is the folder where it is
    noted what a killed run leaves at BMCs.
    """

    password: str = field(repr=False)
    ca: str | None = None
    occupant: Occupant | None = None
    aspects: Aspects = TWO_REQUESTS
    bios: frozenset[str] = frozenset()
    firmware: frozenset[str] = frozenset()
    sessions: Path | None = None


class Unreachable(Transient):
    """No connection to the BMC: nothing was asked of it."""


class NotNow(Transient):
    """The BMC refuses for the state that it or its machine is in: it is busy, or just switching."""


class NextBoot(Refused):
    """A part waits for the next boot, and the BMC takes the rest only after it: boot, and ask again."""


class NeedsPower(Refused):
    """The BMC shows no controllers of a machine that is off: switch it on, and ask again."""


class Starting(NotNow):
    """The BMC shows no controllers of a machine that starts, yet."""


def _nothing(found: NodeFound) -> NodeInventory | None:
    """Remembers nothing."""
    return None


Remembered = Callable[[NodeFound], NodeInventory | None]
Tell = Callable[[str], None]


class BmcSession(Protocol):
    """An open BMC. Its methods may be called from several threads at once; none is sent twice by itself.

    Every setter reads back what it wrote, is safe to repeat, and changes nothing that is so already.
    Raises: Unreachable, Transient, Refused, TimedOut.
    """

    @property
    def writes(self) -> int:
        """How much was sent that may have changed the node: more than before a call that failed, unless the BMC refused
        all of it."""

    def observe(self, deadline: Deadline, aspects: Aspects = TWO_REQUESTS) -> NodeFound:
        """What can drift, in two requests and those of ``aspects``."""

    def inspect(self, deadline: Deadline, remembered: Remembered = _nothing) -> NodeInventory:
        """What the node consists of, in as many requests as it has parts; in two when ``remembered`` has it of a node
        with this UUID, serial number and BIOS version. Raises: as ``observe``."""

    def switch_on(self, deadline: Deadline) -> None:
        """Returns once the node is on. Safe to repeat. Raises: Refused, TimedOut, Unreachable."""

    def switch_off(self, hard: bool, deadline: Deadline) -> None:
        """Returns once the node is off: the guest is asked first, and after half of the time power is cut; with
        ``hard`` at once. Safe to repeat. Raises: Refused, TimedOut, Unreachable."""

    def set_indicator_led(self, state: str, deadline: Deadline) -> None:
        """Makes the light lit, blinking or off, at once."""

    def set_asset_tag(self, tag: str, deadline: Deadline) -> None:
        """Writes the asset tag, at once."""

    def check_bios(self, attributes: Mapping[str, JSON], deadline: Deadline) -> Sequence[tuple[str, str]]:
        """(name, cause) of what the BMC's attribute registry does not take; nothing when it has no registry."""

    def set_bios(self, attributes: Mapping[str, JSON], deadline: Deadline) -> None:
        """Has the attributes wait for the next boot: they are pending, or in force, when this returns."""

    def set_boot(self, mode: str | None, secure_boot: bool | None, deadline: Deadline) -> None:
        """Sets boot mode (uefi or bios) and secure boot for the next boot; None leaves one as it is.

        Raises: NextBoot when the BMC takes one of the two at a time: the boot mode waits then, secure boot is unset.
        """

    def check_raid(self, volumes: Sequence[RaidVolume], deadline: Deadline) -> Sequence[tuple[str, str]]:
        """(name, cause) of volumes that no controller of the node can make, with nothing changed: a level or drives
        that it has not, a drive that is called by two names, more bytes than the drives give."""

    def set_raid(
        self,
        volumes: Sequence[RaidVolume],
        deadline: Deadline,
        doomed: Collection[str] | None = None,
        begins: Callable[[], None] = lambda: None,
    ) -> None:
        """Makes the node's RAID volumes these: others, with their data, are deleted. No create is sent twice, and
        ``begins`` is called before the first change.

        Raises: Stale, with nothing changed, when one would be deleted that is not among the ``doomed``; NeedsPower.
        """

    def tasks(self, deadline: Deadline) -> str:
        """Names the tasks that the BMC lists, others by another name; empty when it lists none ever.

        Raises: NotNow while one of them runs.
        """

    def has_failed(self, before: str, deadline: Deadline) -> bool:
        """Whether the one task failed that came since ``tasks`` gave ``before``; False where that cannot be told."""

    def update_firmware(self, name: str, url: str, version: str, deadline: Deadline) -> bool:
        """Updates what ``firmware`` calls ``name`` from ``url``; False: the BMC has it, and the node must be booted
        before ``version`` is shown. Safe to repeat: a version that is shown is not asked for."""

    def insert_media(self, url: str, deadline: Deadline) -> None:
        """Has the ISO at ``url`` in the node's virtual drive, after whatever was in it is out."""

    def eject_media(self, deadline: Deadline) -> None:
        """Returns once every virtual drive is empty."""

    def boot_once(self, device: str, mode: str | None, deadline: Deadline) -> None:
        """The next boot, and it alone where the BMC can, is from ``device``: cd or disk; in ``mode`` when given."""

    def close(self) -> None:
        """Gives the connections back, and ends the session at the BMC where there is one."""


@runtime_checkable
class Checking(Protocol):
    """A session that knows what its node takes."""

    def faults(self, wanted: Machine, deadline: Deadline) -> Sequence[tuple[str, str, str]]:
        """What the node does not take: ("bios", attribute, cause), ("raid", volume, cause), ("firmware",
        name, cause) of a version that it has not and no image is named of. Raises: Unreachable, Transient, TimedOut."""


class Deployer(Protocol):
    """Deploys to the nodes of one run, many at the same time; it serves nothing until the first of them."""

    def deploy(
        self, bmc: BmcSession, wanted: Job, progress: Tell, reached: Tell, stage: str, deadline: Deadline
    ) -> str:
        """Has the node run from its disk with the image on it, or with ``wanted.iso`` booted once. Gives what is to be
        known of it besides, or nothing.

        ``stage`` is what the last call, if one was cut off, told ``reached``, which must be durable when it returns.
        A disk that was finished is not written again. Raises: Refused with step and detail, TimedOut, Transient.
        """

    def clean(self, bmc: BmcSession, wanted: Cleaning, progress: Tell, deadline: Deadline) -> None:
        """Wipes disks of the node, which is off afterwards. Safe to repeat. Raises: as ``deploy``."""

    def close(self) -> None:
        """Ends what it serves; nothing of it stays."""
