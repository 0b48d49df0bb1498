"""ssh as libvirt runs it for us, with a program in its place that says what ssh would."""

import os
import re
import time
from pathlib import Path

import pytest

from stacksmith.providers.base import Deadline, Refused
from stacksmith.providers.libvirt.connection import ConnectionPool, unattended


@pytest.mark.parametrize(
    ("uri", "given"),
    [
        ("qemu+ssh://root@hv1/system", "qemu+ssh://root@hv1/system?no_tty=1"),
        ("qemu+ssh://hv1/system?keyfile=/k", "qemu+ssh://hv1/system?keyfile=/k&no_tty=1"),
        ("qemu+ssh://hv1/system?no_tty=0", "qemu+ssh://hv1/system?no_tty=0"),
        ("qemu:///system", "qemu:///system"),
        ("qemu+libssh2://hv1/system", "qemu+libssh2://hv1/system"),
    ],
)
def test_ssh_is_told_to_ask_nothing(uri: str, given: str) -> None:
    assert unattended(uri) == given


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("Host key verification failed.", "compare the host's key"),
        ("root@hv1: Permission denied (publickey).", "ssh-agent"),
    ],
)
def test_what_ssh_says_is_refused_with_what_to_do(
    words: str, advice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "ssh"
    # As ssh, it has taken what libvirt says first by the time that it is refused.
    program.write_text(
        f'#!/bin/sh\necho "$@" >{tmp_path}/words\nhead -c 4 >{tmp_path}/said\necho "{words}" >&2\nexit 255\n'
    )
    program.chmod(0o700)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    pool = ConnectionPool("qemu+ssh://root@hv1/system", 1, True)
    with pytest.raises(Refused, match=re.escape(words)) as caught:
        pool.call(lambda link: None, Deadline(time.monotonic() + 60, time.monotonic))
    pool.close()
    assert advice in (caught.value.hint or "")
    assert "BatchMode=yes" in (tmp_path / "words").read_text()
