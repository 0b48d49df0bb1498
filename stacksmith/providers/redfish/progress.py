"""How far a step on a node has come, as its durable note says: what is on the disk, and what was begun besides."""

import secrets
from typing import Final

from stacksmith.providers.base import Target
from stacksmith.providers.deployment import LATER, Stage

TAKEN: Final = "taken"
RESTART: Final = "restart"  # among the updates: the step switches the node off and on again, or with BETWEEN:
BETWEEN: Final = "between"  # it switches on one that is off, for a boot between two settings
_NONE: Final = "-"


class Progress:
    """The note of one step: ``media <key of the disk> <life> <update>=<answer>,…``; empty when there is nothing to say.

    An update is noted before it is sent, with the tasks that its BMC lists then, and again when the BMC has it: a run
    that comes after a killed one sends none twice.
    """

    def __init__(self, target: Target, sent: dict[str, str]) -> None:
        """``sent`` are the updates that this run knows of itself; it is brought up to date."""
        self._at, self._key, self._life, noted = (*target.stage.split(), "", "", "", "")[:4]
        self._sent = sent
        self._sent |= dict(each.split("=", 1) for each in noted.split(",") if "=" in each)
        self._note = target.reached

    def of_disk(self, key: str, is_there: bool) -> tuple[str, str]:
        """How far an earlier run came with the same bytes, and the life of the server that it wrote; ``is_there``: the
        server is no new one."""
        if self._key == key:
            return self._at, self._life
        return Stage.NOTHING, LATER if is_there else secrets.token_hex(4)

    def reached(self, at: str, key: str, life: str) -> None:
        """Notes what the disk has behind it."""
        self._at, self._key, self._life = at, key, life
        self._write()

    def sent(self, update: str) -> str | None:
        """None for one that was never sent; the tasks that there were before it was, or that it was taken."""
        return self._sent.get(update)

    def send(self, update: str, answer: str) -> None:
        """Notes that it is sent now, or was taken."""
        self._sent[update] = answer
        self._write()

    def drop(self, *updates: str) -> None:
        """Forgets these, all when none is named: the next run sends them anew."""
        if gone := [each for each in updates or tuple(self._sent) if each in self._sent]:
            for each in gone:
                del self._sent[each]
            self._write()

    def _write(self) -> None:
        sent = ",".join(f"{each}={answer}" for each, answer in self._sent.items())
        no_disk = Stage.SETTINGS if sent else Stage.NOTHING
        at = no_disk if self._at in (Stage.NOTHING, Stage.SETTINGS) else self._at
        words = (at, self._key or _NONE, self._life or _NONE, sent)
        self._note(" ".join(filter(None, words)) if at else "")
