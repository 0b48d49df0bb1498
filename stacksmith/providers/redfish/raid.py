"""RAID volumes of a node's controllers."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Final

from stacksmith.frozen import dataclass
from stacksmith.model.node_found import Power
from stacksmith.model.raid import GIB, fits, most_of, told
from stacksmith.model.realised import RaidVolume
from stacksmith.model.types import JSON
from stacksmith.providers.base import Deadline, Gone, ProviderError, Refused, Stale, TimedOut, Transient
from stacksmith.providers.bmc import NeedsPower, NotNow, Starting, Unreachable
from stacksmith.providers.redfish import reading, task
from stacksmith.providers.redfish.connection import Answer
from stacksmith.providers.redfish.fault import Failed
from stacksmith.providers.redfish.reading import Page
from stacksmith.providers.redfish.tree import Tree
from stacksmith.providers.redfish.writing import LONG_SECONDS

POLL_SECONDS: Final = 1.0
LOST_SECONDS: Final = 5.0  # so long a change whose answer was lost may take to be seen, when no task runs
SHOWN_SECONDS: Final = 20.0  # and one whose task is done
AT_ONCE: Final = {"@Redfish.OperationApplyTime": "Immediate"}
LEVELS: Final = {  # of Volume before 1.3.1
    "NonRedundant": "RAID0",
    "Mirrored": "RAID1",
    "StripedWithParity": "RAID5",
    "SpannedMirrors": "RAID10",
    "SpannedStripesWithParity": "RAID50",
}


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume that there is."""

    path: str
    shape: RaidVolume


@dataclass(frozen=True, slots=True)
class Controller:
    """A controller that makes volumes; ``levels`` is empty when it does not tell them, ``sizes`` has no drive that does
    not tell its own."""

    path: str
    levels: tuple[str, ...]
    drives: dict[str, str]  # paths by each name that is one drive's alone
    names: dict[str, str]  # a name of each drive, by path
    sizes: dict[str, int]  # bytes of drives, by path
    volumes: tuple[Volume, ...]


def found(tree: Tree, system: Page, declared: Collection[str], deadline: Deadline) -> tuple[RaidVolume, ...] | None:
    """The volumes of all controllers, in order of name, with their drives by the names that are declared; None where
    no controller is shown yet."""
    controllers = _controllers(tree, system, declared, deadline)
    try:
        _check_shown(tree, system, controllers)
    except (NeedsPower, Starting):
        return None
    return tuple(sorted((volume.shape for each in controllers for volume in each.volumes), key=lambda each: each.name))


def check_raid(tree: Tree, volumes: Sequence[RaidVolume], deadline: Deadline) -> Sequence[tuple[str, str]]:
    """See BmcSession."""
    declared = [name for volume in volumes for name in volume.drives]
    system = tree.system(deadline)
    controllers = _controllers(tree, system, declared, deadline, with_drives=True)
    _check_shown(tree, system, controllers)
    used: dict[str, tuple[str, str]] = {}  # the volume and the name in it, by path of the drive
    faults = []
    for volume in volumes:
        try:
            controller = _place(volume, controllers)
        except Refused as fault:
            faults.append((volume.name, f"{fault}; {fault.hint}"))
            continue
        if not any(fits(volume, there.shape) for there in controller.volumes):
            faults += [(volume.name, cause) for cause in _at_boot(tree, controller, deadline)]
        for name in volume.drives:
            whose, other = used.setdefault(controller.drives[name], (volume.name, name))
            if (whose, other) != (volume.name, name):
                where = "" if whose == volume.name else f" of volume {whose}"
                faults.append((volume.name, f"{name} is the same drive as {other}{where}"))
        most = _most_bytes(volume, controller)
        if volume.size_bytes is not None and most is not None and volume.size_bytes > most:
            sizes = (
                f"{volume.size_bytes / GIB:,.1f} GiB are asked for, and its drives give {most / GIB:,.1f} GiB at most"
            )
            faults.append((volume.name, sizes))
    return faults


def set_raid(
    tree: Tree,
    volumes: Sequence[RaidVolume],
    deadline: Deadline,
    doomed: Collection[str] | None,
    begins: Callable[[], None],
) -> None:
    """See BmcSession. Nothing is deleted before every volume has its place."""
    declared = [name for volume in volumes for name in volume.drives]
    system = tree.system(deadline)
    controllers = _controllers(tree, system, declared, deadline, with_drives=bool(volumes))
    if volumes:
        _check_shown(tree, system, controllers)
    places = {volume.name: (volume, _placed(tree, volume, controllers)) for volume in volumes}
    surplus = []
    for there in (volume for each in controllers for volume in each.volumes):
        wanted = places.get(there.shape.name)
        if wanted is not None and fits(wanted[0], there.shape):
            del places[there.shape.name]
        else:
            surplus.append(there)
    spared = sorted(told(each.shape) for each in surplus if doomed is not None and each.shape.name not in doomed)
    if spared:
        cause = f"RAID volumes of {tree.name} would be deleted that the plan does not name: {', '.join(spared)}"
        raise Stale(cause, "raid", "plan again, and if nobody needs them apply that with --allow data-loss")
    for missing, controller in places.values():
        for cause in _at_boot(tree, controller, deadline):
            raise Refused(f"cannot make the RAID volume {missing.name} of {tree.name}: {cause}", "raid")
    if surplus or places:
        begins()
    for volume in surplus:
        _delete(tree, volume, deadline)
    for missing, controller in places.values():
        _create(tree, missing, controller, deadline)


def _check_shown(tree: Tree, system: Page, controllers: Sequence[Controller]) -> None:
    """Passes unless no controller is shown of a machine that is off, or starts: some BMCs know none until it is well on
    its way. Raises: NeedsPower, Starting."""
    if controllers:
        return
    if reading.power_of(system) is Power.OFF:
        raise NeedsPower(f"{tree.name} shows no RAID controller while it is off", "raid")
    if reading.is_starting(system):
        raise Starting(f"{tree.name} shows no RAID controller yet: it starts", "raid")


def _controllers(
    tree: Tree, system: Page, declared: Collection[str], deadline: Deadline, *, with_drives: bool = False
) -> list[Controller]:
    """Those with volumes; ``with_drives``: also the drives that are in no volume."""
    controllers = []
    for storage in tree.members(reading.link(system, "Storage"), deadline):
        path = reading.link(storage, "Volumes")
        if path is None:
            continue
        pages = [page for page in tree.members(path, deadline) if _level(page) is not None]
        used = [{"@odata.id": each} for page in pages for each in _drives(page)]
        listed = storage.get("Drives")
        entries = listed if isinstance(listed, list) else []
        is_whole = any(isinstance(entry, dict) and "Id" in entry for entry in entries)
        shown = tree.pages(entries if with_drives or is_whole else _once(used), deadline)
        drives, names = _named(shown, declared)
        volumes = tuple(Volume(str(page.get("@odata.id")), _shape(page, names)) for page in pages)
        told_sizes = {str(page.get("@odata.id")): reading.number(page.get("CapacityBytes")) for page in shown}
        sizes = {path: size for path, size in told_sizes.items() if size}
        controllers.append(Controller(path, _levels(storage), drives, names, sizes, volumes))
    return controllers


def _named(pages: Sequence[Page], declared: Collection[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Paths of drives by each name that is one's alone, and for each path a name: the declared one where there is."""
    known = {str(page.get("@odata.id")): reading.drive_names(page) for page in pages}
    times = Counter(name for names in known.values() for name in names)
    own = {path: [name for name in names if times[name] == 1] for path, names in known.items()}
    drives = {name: path for path, names in own.items() for name in names}
    called = {
        path: [*(name for name in names if name in declared), *names, _last(path)][0] for path, names in own.items()
    }
    return drives, called


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _once(links: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{"@odata.id": path} for path in dict.fromkeys(each["@odata.id"] for each in links)]


def _levels(storage: Page) -> tuple[str, ...]:
    cards = storage.get("StorageControllers")
    listed = (
        [card.get("SupportedRAIDTypes") for card in cards if isinstance(card, dict)] if isinstance(cards, list) else []
    )
    return tuple(sorted({str(level) for levels in listed if isinstance(levels, list) for level in levels}))


def _level(page: Page) -> str | None:
    """None for a drive that is shown as a volume, and is none."""
    level = reading.told(page, "RAIDType") or LEVELS.get(str(page.get("VolumeType")))
    return None if level == "None" else level


def _drives(page: Page) -> list[str]:
    return reading.links(reading.inside(page, "Links"), "Drives") or reading.links(page, "Drives")


def _shape(page: Page, names: dict[str, str]) -> RaidVolume:
    name = reading.told(page, "DisplayName") or reading.told(page, "Name") or str(page.get("Id"))
    drives = tuple(sorted(names.get(path, _last(path)) for path in _drives(page)))
    return RaidVolume(name, _level(page) or "", drives, reading.number(page.get("CapacityBytes")) or None)


def _placed(tree: Tree, volume: RaidVolume, controllers: Sequence[Controller]) -> Controller:
    try:
        return _place(volume, controllers)
    except Refused as fault:
        cause = f"cannot make the RAID volume {volume.name} of {tree.name}: {fault}"
        raise Refused(cause, "raid", fault.hint) from fault


def _place(volume: RaidVolume, controllers: Sequence[Controller]) -> Controller:
    """The controller that a volume is made on. Raises: Refused when there is none, or there are several."""
    able = [each for each in controllers if not each.levels or volume.level in each.levels]
    if not able:
        known = ", ".join(sorted({level for each in controllers for level in each.levels})) or "no controllers for it"
        raise Refused(f"{volume.level} is not possible", hint=f"there are {known}")
    holding = [each for each in able if each.drives and set(volume.drives) <= set(each.drives)]
    if not holding:
        names = ", ".join(sorted(name for each in able for name in each.names.values())) or "none"
        missing = ", ".join(volume.drives)
        raise Refused(f"no controller has all of its drives: {missing}", hint=f"there are {names}")
    if len(holding) > 1:
        raise Refused(f"there are {len(holding)} controllers to choose from", hint="name its drives")
    return holding[0]


def _paths(volume: RaidVolume, controller: Controller) -> list[str]:
    """Those of its drives; of all when it names none."""
    return [controller.drives[name] for name in volume.drives] or sorted(controller.names)


def _most_bytes(volume: RaidVolume, controller: Controller) -> int | None:
    """More a volume cannot have: that of the smallest drive, as often as data is not there twice. None when a drive
    does not tell its size."""
    paths = _paths(volume, controller)
    if not all(path in controller.sizes for path in paths):
        return None
    return min(controller.sizes[path] for path in paths) * most_of(volume.level, len(paths))


def _create(tree: Tree, volume: RaidVolume, controller: Controller, deadline: Deadline) -> None:
    """One POST. Whatever comes of it, the volumes are listed again: a second one would be a second volume."""
    text = f"cannot make the RAID volume {volume.name} of {tree.name}"
    body = {**_body(volume, controller), **(AT_ONCE if _times(tree, controller, deadline) else {})}

    def post() -> Answer:
        """Newer controllers take the name as DisplayName alone; what is refused was not carried out."""
        try:
            return tree.connection.post(controller.path, {"Name": volume.name, **body}, deadline, LONG_SECONDS)
        except Refused as fault:
            if "Name" not in str(fault):
                raise
        except Gone as fault:
            raise Refused(str(fault), "raid") from fault
        return tree.connection.post(controller.path, {"DisplayName": volume.name, **body}, deadline, LONG_SECONDS)

    def is_there() -> bool:
        pages = tree.members(controller.path, deadline)
        return any(_shape(page, {}).name == volume.name and _level(page) == volume.level for page in pages)

    _settle(tree, post, is_there, text, deadline)


def _body(volume: RaidVolume, controller: Controller) -> dict[str, JSON]:
    paths = _paths(volume, controller)
    size = {} if volume.size_bytes is None else {"CapacityBytes": volume.size_bytes}
    return {"RAIDType": volume.level, "Links": {"Drives": [{"@odata.id": path} for path in paths]}, **size}


def _at_boot(tree: Tree, controller: Controller, deadline: Deadline) -> list[str]:
    """Why nothing can be made at once on a controller; nothing where it can."""
    times = _times(tree, controller, deadline)
    if not times or "Immediate" in times:
        return []
    return [f"its controller makes volumes {', '.join(times)} alone, not at once"]


def _times(tree: Tree, controller: Controller, deadline: Deadline) -> list[str]:
    """When a volume can be made, where the controller asks for it."""
    support = reading.inside(tree.get(controller.path, deadline), "@Redfish.OperationApplyTimeSupport")
    times = support.get("SupportedValues")
    return [str(each) for each in times] if isinstance(times, list) else []


def _delete(tree: Tree, volume: Volume, deadline: Deadline) -> None:
    def is_gone() -> bool:
        try:
            tree.get(volume.path, deadline)
        except Gone:
            return True
        return False

    text = f"cannot delete the RAID volume {volume.shape.name} of {tree.name}"
    _settle(tree, lambda: tree.connection.delete(volume.path, deadline), is_gone, text, deadline)


def _settle(tree: Tree, act: Callable[[], Answer], is_so: Callable[[], bool], text: str, deadline: Deadline) -> None:
    """Acts once, follows the task, and waits until it is so.

    Raises: NotNow and Refused when the BMC refused; Transient and TimedOut when it is not known what came of it.
    """
    lost: ProviderError | None = None
    try:
        answer = act()
        if answer.task:
            task.follow(tree.connection, answer.task, deadline)
    except Gone:
        pass
    except (NotNow, Unreachable, Failed):
        raise
    except (Transient, TimedOut) as fault:
        lost = fault
    _await(tree, is_so, lost, text, deadline)


def _may_work(tree: Tree, deadline: Deadline) -> bool:
    """Whether a task runs, for all that its BMC tells."""
    try:
        return task.is_working(tree, deadline)
    except Unreachable:
        raise
    except (Transient, TimedOut):
        return True


def _await(tree: Tree, is_so: Callable[[], bool], lost: ProviderError | None, text: str, deadline: Deadline) -> None:
    """Waits until it is so: long enough after a task, and after a lost answer as long as any task runs. The tasks are
    asked for first: one may end between the two, and then it is so."""
    began = deadline.clock()
    while True:
        try:
            is_over = deadline.clock() - began > (LOST_SECONDS if lost else SHOWN_SECONDS)
            is_over = is_over and not (lost is not None and _may_work(tree, deadline))
            if is_so():
                return
            if is_over and lost is None:
                raise Refused(f"{text}: its BMC took it, and nothing came of it", "raid")
        except Unreachable:
            raise
        except (Transient, TimedOut):
            is_over = False
        if is_over or deadline.seconds < POLL_SECONDS:
            raise lost or TimedOut(f"{text}: it is not so yet")
        time.sleep(POLL_SECONDS)
