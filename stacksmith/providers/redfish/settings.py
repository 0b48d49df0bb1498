"""Settings of a node that are in force at once: its light and its asset tag."""

from typing import Final

from stacksmith.providers.base import Deadline, Refused
from stacksmith.providers.redfish import reading
from stacksmith.providers.redfish.tree import Tree
from stacksmith.providers.redfish.writing import Change, write

LIGHTS: Final = {"lit": "Lit", "blinking": "Blinking", "off": "Off"}


def set_indicator_led(tree: Tree, state: str, deadline: Deadline) -> None:
    """LocationIndicatorActive took the place of IndicatorLED in ComputerSystem 1.14: it blinks, or is off."""
    system = tree.system(deadline)
    if reading.led(system) == state:
        return
    is_new = isinstance(system.get("LocationIndicatorActive"), bool)
    if not is_new and "IndicatorLED" not in system:
        raise Refused(f"cannot set the light of {tree.name}: its BMC shows none", "indicator_led")
    if is_new and state == "lit":
        raise Refused(f"cannot light {tree.name}: its light only blinks", "indicator_led", "say blinking")
    body = {"LocationIndicatorActive": state == "blinking"} if is_new else {"IndicatorLED": LIGHTS[state]}
    path = tree.path(deadline)
    write(tree, Change(path, body, "the light", lambda: reading.led(tree.system(deadline)) == state), deadline)


def set_asset_tag(tree: Tree, tag: str, deadline: Deadline) -> None:
    def is_so() -> bool:
        return (reading.told(tree.system(deadline), "AssetTag") or "") == tag.strip()

    if not is_so():
        write(tree, Change(tree.path(deadline), {"AssetTag": tag}, "the asset tag", is_so), deadline)
