"""What stacks have claimed of the hosts: a table, and JSON."""

from collections.abc import Iterable

from stacksmith.model.types import JSON
from stacksmith.placement.tree.provider import Consumer
from stacksmith.planner.layout import provider_name
from stacksmith.views.paint import PLAIN, Paint
from stacksmith.views.table import table


def claims_text(consumers: Iterable[Consumer], paint: Paint = PLAIN) -> str:
    """The table of ``state claims``: a row for each resource and host, or provider below one."""
    rows = [
        (
            each.owner,
            each.name,
            provider_name(provider),
            ", ".join(f"{name} {amount}" for name, amount in sorted(amounts.items())),
            each.uuid,
        )
        for each in sorted(consumers, key=_order)
        for provider, amounts in sorted(each.allocations.items())
    ]
    return "\n".join(table(("STACK", "RESOURCE", "PROVIDER", "CLAIMED", "UUID"), rows, paint)) + "\n"


def claims_data(consumers: Iterable[Consumer]) -> JSON:
    """The claims as JSON data."""
    return [
        {
            "stack": each.owner,
            "address": each.name,
            "uuid": each.uuid,
            "generation": each.generation,
            "allocations": {provider_name(p): dict(amounts) for p, amounts in sorted(each.allocations.items())},
        }
        for each in sorted(consumers, key=_order)
    ]


def _order(consumer: Consumer) -> tuple[str, str, str]:
    return (consumer.owner, consumer.name, consumer.uuid)
