"""What the words of refusals name."""

from dataclasses import fields
from string import Formatter

import pytest

from stacksmith.placement.tree import reason

WORDED = [each for each in vars(reason).values() if isinstance(each, type) and getattr(each, "words", "")]


@pytest.mark.parametrize("kind", WORDED, ids=lambda kind: kind.__name__)
def test_words_of_a_reason_name_all_its_fields_and_nothing_else(kind: type[reason.Reason]) -> None:
    named = {name for _, name, _, _ in Formatter().parse(kind.words) if name is not None}
    assert named == {each.name for each in fields(kind)}


def test_words_are_looked_for_in_every_worded_reason() -> None:
    assert reason.NoInventory in WORDED and len(WORDED) > 15
