"""BIOS attributes: checked against the BMC's registry, and written for the next boot."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from stacksmith.model.bios import PASSWORD_CAUSE, is_password
from stacksmith.model.types import JSON
from stacksmith.providers.base import Deadline, Gone, Refused
from stacksmith.providers.redfish import reading, registry
from stacksmith.providers.redfish.fault import Failed
from stacksmith.providers.redfish.reading import Page
from stacksmith.providers.redfish.tree import Tree
from stacksmith.providers.redfish.writing import LONG_SECONDS, Change, write

EXPAND: Final = "?$expand=.($levels=1)"  # what annotations lead to as well, so the settings that wait
AT_RESET: Final = {
    "@Redfish.SettingsApplyTime": {"@odata.type": "#Settings.v1_1_0.PreferredApplyTime", "ApplyTime": "OnReset"}
}


def check_bios(tree: Tree, attributes: Mapping[str, JSON], deadline: Deadline) -> Sequence[tuple[str, str]]:
    """See BmcSession. A read-only attribute may be declared as it is."""
    page = bios_page(tree, deadline)
    entries = registry.entries(tree, page, deadline)
    if not entries:
        return [(name, PASSWORD_CAUSE) for name in sorted(attributes) if is_password(name, attributes[name])]
    current = attributes_of(page)
    faults = [
        (name, registry.fault(entries, name, value))
        for name, value in sorted(attributes.items())
        if not same(current.get(name), value)
    ]
    return [(name, cause) for name, cause in faults if cause is not None]


def set_bios(tree: Tree, attributes: Mapping[str, JSON], deadline: Deadline) -> None:
    """See BmcSession. All are written at once: many BMCs take one change until the next boot."""
    page = bios_page(tree, deadline)
    wanted = missing(tree, page, attributes, deadline)
    if not wanted:
        return
    settings = reading.inside(page, "@Redfish.Settings")
    times = settings.get("SupportedApplyTimes")
    takes_time = isinstance(times, list) and "OnReset" in times
    what = f"BIOS {'attributes' if len(wanted) > 1 else 'attribute'} {', '.join(sorted(wanted))}"

    def is_so() -> bool:
        return not missing(tree, bios_page(tree, deadline), wanted, deadline)

    body = {"Attributes": wanted, **(AT_RESET if takes_time else {})}
    write(tree, Change(_settings_path(page), body, what, is_so, LONG_SECONDS), deadline)


def missing(tree: Tree, page: Page, wanted: Mapping[str, JSON], deadline: Deadline) -> dict[str, JSON]:
    """Those that will not be so after the next boot."""
    coming = {**attributes_of(page), **pending(tree, page, deadline)}
    return {name: value for name, value in wanted.items() if not same(coming.get(name), value)}


def pending(tree: Tree, page: Page, deadline: Deadline) -> dict[str, JSON]:
    """What waits for the next boot and is not so yet: some BMCs show changes alone, others all attributes."""
    current = attributes_of(page)
    inline = _inline(page)
    try:
        waiting = attributes_of(inline if "Attributes" in inline else tree.get(_settings_path(page), deadline))
    except Gone:  # it was only guessed at
        if inline:
            raise
        return {}
    return {
        name: value
        for name, value in sorted(waiting.items())
        if value is not None and not same(current.get(name), value)
    }


def with_settings(tree: Tree, path: str, deadline: Deadline) -> Page:
    """The page of the BIOS, with the settings that wait in it where the BMC can; others are asked for it as it is."""
    known = tree.known.expands
    page: Page = {}
    if known or (known is None and tree.expands(deadline).get("NoLinks")):
        with suppress(Gone, Refused, Failed):  # by a BMC that expands collections alone
            page = tree.get(path + EXPAND, deadline)
    is_with = "Attributes" in _inline(page)
    page = page or tree.get(path, deadline)
    tree.known.note_expands(is_with)
    return page


def bios_page(tree: Tree, deadline: Deadline) -> Page:
    """The page of the BIOS. Raises: Refused when the BMC has none."""
    path = reading.link(tree.system(deadline), "Bios")
    if path is None:
        raise Refused(f"cannot set BIOS attributes of {tree.name}: its BMC shows no BIOS", "bios")
    return tree.get(path, deadline)


def attributes_of(page: Page) -> dict[str, JSON]:
    return dict(reading.inside(page, "Attributes"))


def same(found: JSON, wanted: JSON) -> bool:
    """Whether two values are equal; true is not 1."""
    return found == wanted and isinstance(found, bool) == isinstance(wanted, bool)


def _inline(page: Page) -> Page:
    """The settings that wait, where they came with the page; else, the way to them alone."""
    return reading.inside(reading.inside(page, "@Redfish.Settings"), "SettingsObject")


def _settings_path(page: Page) -> str:
    path = reading.told(_inline(page), "@odata.id")
    return path or f"{page.get('@odata.id')}/Settings"
