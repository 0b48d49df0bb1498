"""Boot mode and secure boot of the boots to come."""

from typing import Final

from stacksmith.providers.base import Deadline, Gone, Refused
from stacksmith.providers.bmc import NextBoot
from stacksmith.providers.redfish import bios, reading, registry
from stacksmith.providers.redfish.reading import Page
from stacksmith.providers.redfish.tree import Tree
from stacksmith.providers.redfish.writing import Change, write

MODE: Final = "BootSourceOverrideMode"
OTHERS: Final = {"BootSourceOverrideEnabled": "Disabled", "BootSourceOverrideTarget": "None"}  # and their defaults
MODES: Final = {"uefi": "UEFI", "bios": "Legacy"}
# The attribute that vendors keep the mode in, and their words for it: Dell and HPE, Supermicro, Lenovo.
ATTRIBUTES: Final = ("BootMode", "BootModeSelect", "BootModes_SystemBootMode", "SystemBootMode")
WORDS: Final = {"uefi": ("Uefi", "UEFI", "UEFIMode"), "bios": ("Bios", "LegacyBios", "Legacy", "LEGACY", "LegacyMode")}


def set_boot(tree: Tree, mode: str | None, secure_boot: bool | None, deadline: Deadline) -> None:
    """See BmcSession. The boot mode comes first: firmware without UEFI has no secure boot."""
    if mode is not None:
        _set_mode(tree, mode, deadline)
    if secure_boot is not None:
        _set_secure_boot(tree, secure_boot, deadline)


def _set_mode(tree: Tree, mode: str, deadline: Deadline) -> None:
    """By the boot override where the BMC takes it there, else by the BIOS attribute."""

    def is_so() -> bool:
        return reading.boot_mode(tree.system(deadline)) == mode

    system = tree.system(deadline)
    name = _waiting_mode(tree, deadline)
    if is_so() and name is None:
        return
    if name is None:
        place = reading.link(reading.inside(system, "@Redfish.Settings"), "SettingsObject")
        shown, alone = reading.inside(system, "Boot"), {MODE: MODES[mode]}
        whole = {key: shown.get(key) or default for key, default in OTHERS.items()} | alone
        for boot in (whole,) if place else (alone, whole):
            try:
                path = place or tree.path(deadline)
                return write(tree, Change(path, {"Boot": boot}, "the boot mode", is_so), deadline)
            except Refused as fault:
                refused = fault
    else:
        refused = Refused(f"cannot set the boot mode of {tree.name}: {name} waits for the next boot", "boot_mode")
    _set_mode_by_bios(tree, mode, refused, deadline)


def _waiting_mode(tree: Tree, deadline: Deadline) -> str | None:
    """The BIOS attribute of the boot mode, if a change of it waits for the next boot."""
    path = reading.link(tree.system(deadline), "Bios")
    waiting = bios.pending(tree, tree.get(path, deadline), deadline) if path else {}
    return next((name for name in ATTRIBUTES if name in waiting), None)


def _set_mode_by_bios(tree: Tree, mode: str, refused: Refused, deadline: Deadline) -> None:
    """Raises: ``refused`` when there is no such attribute, or it is so already."""
    if reading.link(tree.system(deadline), "Bios") is None:
        raise refused
    page = bios.bios_page(tree, deadline)
    known = bios.attributes_of(page)
    name = next((each for each in ATTRIBUTES if each in known), None)
    if name is None:
        raise refused
    entry = registry.entries(tree, page, deadline).get(name, {})
    word = next((each for each in WORDS[mode] if registry.fault({name: entry}, name, each) is None), WORDS[mode][0])
    if not bios.missing(tree, page, {name: word}, deadline):
        if known[name] == word:
            raise refused
        return
    try:
        bios.set_bios(tree, {name: word}, deadline)
    except Refused as fault:
        if _secure_boot_waits(tree, deadline):
            raise _after_boot(tree, "secure boot", "the boot mode", fault) from fault
        raise


def secure_boot(tree: Tree, system: Page, deadline: Deadline) -> dict[str, bool | None]:
    """Secure boot as it is in force, and as it is set for the next boot; some BMCs show none without UEFI, which has
    none."""
    path = reading.link(system, "SecureBoot")
    try:
        page = tree.get(path, deadline) if path else {}
    except Gone:
        return {"secure_boot": False if reading.boot_mode(system) == "bios" else None}
    return {"secure_boot": reading.secure_boot(page), "secure_boot_next": reading.secure_boot_set(page)}


def coming_mode(tree: Tree, deadline: Deadline) -> str | None:
    """The boot mode that waits for the next boot, where it is a BIOS attribute."""
    path = reading.link(tree.system(deadline), "Bios")
    waiting = bios.pending(tree, tree.get(path, deadline), deadline) if path else {}
    words = {str(waiting[name]) for name in ATTRIBUTES if name in waiting}
    return next((mode for mode, known in WORDS.items() if words & set(known)), None)


def coming_secure_boot(tree: Tree, deadline: Deadline) -> bool | None:
    """Secure boot after the next boot; None where it is not told."""
    path = reading.link(tree.system(deadline), "SecureBoot")
    try:
        return _coming(tree, tree.get(path, deadline), deadline) if path else None
    except Gone:
        return None


def _set_secure_boot(tree: Tree, wanted: bool, deadline: Deadline) -> None:
    system = tree.system(deadline)
    path = reading.link(system, "SecureBoot")
    try:
        page = tree.get(path, deadline) if path else None
    except Gone:
        page = None
    if path is None or page is None:
        if wanted is False and reading.boot_mode(system) == "bios":
            return
        raise Refused(f"cannot set secure boot of {tree.name}: its BMC shows none", "secure_boot")

    def is_so() -> bool:
        return _coming(tree, tree.get(path, deadline), deadline) is wanted

    if _coming(tree, page, deadline) is wanted:
        return
    place = _settings(page) or path
    try:
        write(tree, Change(place, {"SecureBootEnable": wanted}, "secure boot", is_so), deadline)
    except Refused as fault:
        if _waiting_mode(tree, deadline):
            raise _after_boot(tree, "the boot mode", "secure boot", fault) from fault
        raise


def _coming(tree: Tree, page: Page, deadline: Deadline) -> bool | None:
    """Secure boot after the next boot."""
    place = _settings(page)
    found = tree.get(place, deadline).get("SecureBootEnable") if place else None
    found = found if isinstance(found, bool) else page.get("SecureBootEnable")
    return found if isinstance(found, bool) else None


def _secure_boot_waits(tree: Tree, deadline: Deadline) -> bool:
    path = reading.link(tree.system(deadline), "SecureBoot")
    try:
        page = tree.get(path, deadline) if path else {}
    except Gone:
        return False
    return bool(page) and reading.secure_boot(page) is not _coming(tree, page, deadline)


def _settings(page: Page) -> str | None:
    return reading.link(reading.inside(page, "@Redfish.Settings"), "SettingsObject")


def _after_boot(tree: Tree, first: str, second: str, fault: Refused) -> NextBoot:
    text = f"cannot set {second} of {tree.name} yet: {first} waits for the next boot, and comes first: {fault}"
    return NextBoot(text, hint="boot it, and apply again")
