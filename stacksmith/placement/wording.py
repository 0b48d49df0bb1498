"""Numbers in the words of verdicts and refusals."""

from collections.abc import Mapping

from stacksmith.placement.host import Inventory


def capacity_sum(inventory: Inventory) -> str:
    """How a capacity comes about: ``32 = 8 × 4.0``, ``64,512 = 65,024 - 512 reserved``, or the bare number."""
    text = f"{inventory.total:,} - {inventory.reserved:,} reserved" if inventory.reserved else f"{inventory.total:,}"
    if inventory.allocation_ratio != 1.0:
        text = f"({text})" if inventory.reserved else text
        text += f" × {inventory.allocation_ratio}"
    capacity = number(inventory.capacity)
    return capacity if text == capacity else f"{capacity} = {text}"


def number(value: float) -> str:
    """A count in words: thousands apart, up to three places, all of them where rounding would make it whole."""
    if round(value, 3) == round(value) != value:
        return repr(value)
    return f"{value:,.3f}".rstrip("0").rstrip(".")


def claims_of(owners: Mapping[str, int]) -> str:
    """What stacks have claimed of a class and do not use yet, as an addition to what is used; empty for none."""
    told = [f"{amount:,} claimed by stack {owner}" for owner, amount in sorted(owners.items()) if amount]
    return f", of it {' and '.join(told)}, not running yet" if told else ""
