"""A command that kills itself at the k-th request that may change a BMC; tests start it by ``Forked``."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from stacksmith.cli.app import run
from stacksmith.providers.redfish.connection import Connection, Request


def main(said: Path, at: int, is_sent: bool, *words: str) -> int:
    """Its words are in the file ``said``. ``is_sent``: it dies once the BMC has answered, else in place of asking."""
    send, left = Connection._sent, at

    def counted(self: Connection, link: Any, request: Request, deadline: Any) -> Any:
        nonlocal left
        left -= request.method != "GET"
        is_last = request.method != "GET" and left == 0
        if is_last and not is_sent:
            os.kill(os.getpid(), signal.SIGKILL)
        answer = send(self, link, request, deadline)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return answer

    Connection._sent = counted  # type: ignore[method-assign]
    with said.open("w") as sys.stdout:
        sys.stderr = sys.stdout
        return int(run(list(words)))
