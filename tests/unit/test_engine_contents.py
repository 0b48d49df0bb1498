"""Image files: local ones verified, remote ones downloaded whole or not at all."""

import hashlib
import http.server
import multiprocessing
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

import pytest

from stacksmith.address import Address
from stacksmith.engine import contents, download
from stacksmith.engine.contents import StackContents, cache_folder
from stacksmith.model.stack import ImageFileSource
from stacksmith.providers.base import Deadline, ProviderError, Refused, TimedOut, Transient, Unserved

BODY = random.Random(1).randbytes(3 << 20)
SUM = "sha256:" + hashlib.sha256(BODY).hexdigest()
SUM512 = "sha512:" + hashlib.sha512(BODY).hexdigest()


class Web(http.server.ThreadingHTTPServer):
    """A server on loopback; ``asked`` are the paths it was asked for, ``dripping`` is set once it drips, ``dripped``
    is how many drips came to their end."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.asked: list[str] = []
        self.dripping, self.dripped = threading.Event(), 0

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server_port}{path}"


class _Answers(http.server.BaseHTTPRequestHandler):
    server: Web

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(self.path)
        if path.startswith("/status/"):
            self.send_error(int(path.rpartition("/")[2]))
        elif path.startswith("/to/"):
            self._redirect(path.removeprefix("/to"))
        elif path == "/loop":
            self._redirect("/loop")
        elif path == "/to-metadata":
            self._redirect("http://169.254.169.254/latest/meta-data/")
        elif path == "/to-file":
            self._redirect("file:///etc/passwd")
        else:
            self._send(path)

    def _redirect(self, where: str) -> None:
        self.send_response(302)
        self.send_header("Location", where)
        self.end_headers()

    def _send(self, path: str) -> None:
        self.send_response(200)
        if path != "/no-length":
            self.send_header("Content-Length", str(len(BODY)))
        if path == "/packed":
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        if path == "/cut":
            self.wfile.write(BODY[: 1 << 20])
        elif path == "/drip":
            self._drip()
        else:
            time.sleep(0.2 if path == "/slow" else 0)
            self.wfile.write(BODY)

    def _drip(self) -> None:
        for number in range(2400):
            try:
                self.wfile.write(BODY[number : number + 1])
            except OSError:
                return
            self.server.dripping.set()
            time.sleep(0.05)
        self.server.dripped += 1

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def files(source: str, checksum: str = SUM) -> dict[str, ImageFileSource]:
    return {checksum: ImageFileSource(checksum, source)}


def stack_contents(tmp_path: Path, source: str, checksum: str = SUM) -> StackContents:
    return StackContents(files(source, checksum), lambda server, digest: {digest: b""}, tmp_path / "cache")


def kept(tmp_path: Path) -> list[str]:
    folder = tmp_path / "cache"
    return sorted(one.name for one in folder.iterdir()) if folder.exists() else []


def after(seconds: float) -> Deadline:
    return Deadline(time.monotonic() + seconds, time.monotonic)


# Local files.


@pytest.mark.parametrize("checksum", [SUM, SUM512])
def test_local_file_with_its_checksum_is_used_where_it_is(tmp_path: Path, checksum: str) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(BODY)
    assert stack_contents(tmp_path, str(path), checksum).image_file(checksum) == path
    assert kept(tmp_path) == []


def test_local_file_with_another_checksum_is_refused_naming_both(tmp_path: Path) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(b"other")
    found = "sha256:" + hashlib.sha256(b"other").hexdigest()
    with pytest.raises(Refused, match=f"{found}, expected {SUM}"):
        stack_contents(tmp_path, str(path)).image_file(SUM)


def test_local_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="No such file"):
        stack_contents(tmp_path, str(tmp_path / "none.img")).image_file(SUM)


def test_local_file_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, opened = tmp_path / "disk.img", list[Path]()
    path.write_bytes(BODY)
    whole = stack_contents(tmp_path, str(path))
    original = Path.open
    monkeypatch.setattr(Path, "open", lambda self, mode="r": (opened.append(self), original(self, mode))[1])
    for _ in range(3):
        whole.bound(after(60), print).image_file(SUM)
    assert opened == [path]
    path.write_bytes(BODY[:-1] + b"x")
    with pytest.raises(Refused):
        whole.image_file(SUM)


def test_checksum_of_no_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no image of the stack has checksum sha256:0"):
        stack_contents(tmp_path, "x").image_file("sha256:0")


def test_config_drive_is_what_the_planner_renders(tmp_path: Path) -> None:
    assert stack_contents(tmp_path, "x").config_drive(Address("server", "a"), "d1") == {"d1": b""}


# Downloads.


@pytest.mark.parametrize("path", ["/disk", "/no-length", "/to/to/disk", "/packed"])
@pytest.mark.parametrize("checksum", [SUM, SUM512])
def test_download_is_kept_verified_and_private(tmp_path: Path, web: Web, path: str, checksum: str) -> None:
    got = stack_contents(tmp_path, web.url(path), checksum).image_file(checksum)
    assert got.read_bytes() == BODY
    assert (got.stat().st_mode & 0o777, got.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert kept(tmp_path) == [checksum.replace(":", "-")]


def test_download_is_made_once_and_used_by_later_runs(tmp_path: Path, web: Web) -> None:
    for _ in range(2):
        stack_contents(tmp_path, web.url("/disk")).image_file(SUM)
    assert web.asked == ["/disk"]


def test_download_damaged_in_the_cache_is_made_again(tmp_path: Path, web: Web) -> None:
    got = stack_contents(tmp_path, web.url("/disk")).image_file(SUM)
    got.write_bytes(b"damaged")
    assert stack_contents(tmp_path, web.url("/disk")).image_file(SUM).read_bytes() == BODY
    assert len(web.asked) == 2


def test_damaged_download_that_another_process_takes_away_is_made_again(
    tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    got = stack_contents(tmp_path, web.url("/disk")).image_file(SUM)
    got.write_bytes(b"damaged")
    digest = StackContents._digest

    def and_it_goes(contents: StackContents, path: Path, checksum: str) -> str:
        found = digest(contents, path, checksum)
        path.unlink()
        return found

    monkeypatch.setattr(StackContents, "_digest", and_it_goes)
    assert stack_contents(tmp_path, web.url("/disk")).image_file(SUM).read_bytes() == BODY


def test_steps_at_once_download_once(tmp_path: Path, web: Web) -> None:
    whole = stack_contents(tmp_path, web.url("/slow"))
    got: list[Path] = []
    threads = [
        threading.Thread(target=lambda: got.append(whole.bound(after(60), lambda text: None).image_file(SUM)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(got), len(set(got)), web.asked) == (8, 1, ["/slow"])


def _in_process(folder: Path, url: str) -> None:
    stack_contents(folder, url).image_file(SUM)


def test_processes_at_once_download_once(tmp_path: Path, web: Web) -> None:
    spawn = multiprocessing.get_context("spawn")
    others = [spawn.Process(target=_in_process, args=(tmp_path, web.url("/slow"))) for _ in range(3)]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert [other.exitcode for other in others] == [0, 0, 0]
    assert (web.asked, kept(tmp_path)) == (["/slow"], [SUM.replace(":", "-")])


def test_download_that_another_process_has_just_made_is_not_made_again(
    tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = download._lock

    def late(wanted: download.Download, file: IO[bytes]) -> None:
        wanted.path.write_bytes(BODY)
        lock(wanted, file)

    monkeypatch.setattr(download, "_lock", late)
    assert stack_contents(tmp_path, web.url("/disk")).image_file(SUM).read_bytes() == BODY
    assert (web.asked, kept(tmp_path)) == ([], [SUM.replace(":", "-")])


def test_download_writes_over_what_a_killed_run_left(tmp_path: Path, web: Web) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / f"{SUM.replace(':', '-')}.partial").write_bytes(b"x" * (5 << 20))
    assert stack_contents(tmp_path, web.url("/disk")).image_file(SUM).read_bytes() == BODY
    assert len(kept(tmp_path)) == 1


def test_download_tells_how_far_it_is(tmp_path: Path, web: Web) -> None:
    told: list[str] = []
    stack_contents(tmp_path, web.url("/disk")).bound(after(60), told.append).image_file(SUM)
    assert told and all(text.startswith("downloading ") and text.endswith(" of 3 MiB") for text in told)


# What cannot be had leaves nothing behind.


def fails(tmp_path: Path, url: str, kind: type[ProviderError], checksum: str = SUM) -> ProviderError:
    with pytest.raises(kind) as raised:
        stack_contents(tmp_path, url, checksum).image_file(checksum)
    assert type(raised.value) is kind
    assert kept(tmp_path) == []
    return raised.value


def test_download_with_another_checksum_is_refused_naming_both(tmp_path: Path, web: Web) -> None:
    wrong = "sha256:" + "0" * 64
    fault = fails(tmp_path, web.url("/disk"), Refused, wrong)
    assert f"its checksum is {SUM}, expected {wrong}" in str(fault)


def test_download_that_is_cut_off_may_pass(tmp_path: Path, web: Web) -> None:
    assert "cannot download" in str(fails(tmp_path, web.url("/cut"), Transient))


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, Refused), (403, Refused), (410, Refused), (429, Transient), (500, Transient), (503, Transient)],
)
def test_download_answered_with_a_fault_is_refused_or_may_pass(
    tmp_path: Path, web: Web, status: int, kind: type[ProviderError]
) -> None:
    assert f"HTTP {status}" in str(fails(tmp_path, web.url(f"/status/{status}"), kind))


@pytest.mark.parametrize(
    ("url", "cause", "hint"),
    [
        ("http://127.0.0.1:9/x", "Connection refused", "is the server up, and the port of the URL right?"),
        ("http://images.invalid/x", "Name or service not known", "is the host of the URL spelt right?"),
    ],
)
def test_download_from_nobody_is_unserved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, cause: str, hint: str
) -> None:
    def resolve(host: str, *rest: object, **named: object) -> object:
        if host == "images.invalid":  # whatever names this machine can ask for
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return known(host, *rest, **named)  # type: ignore[arg-type]

    known = socket.getaddrinfo
    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    fault = fails(tmp_path, url, Unserved)
    assert str(fault) == f"cannot download {url}: {cause}" and fault.hint == hint


@pytest.mark.parametrize("path", ["/to-file", "/loop"])
def test_redirect_to_a_file_or_for_ever_is_refused(tmp_path: Path, web: Web, path: str) -> None:
    fails(tmp_path, web.url(path), Refused)


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "[fd00:ec2::254]"])
def test_metadata_service_of_a_cloud_is_never_asked(tmp_path: Path, host: str) -> None:
    assert "no address of an image server" in str(fails(tmp_path, f"http://{host}/latest", Refused))


def test_redirect_to_the_metadata_service_of_a_cloud_is_refused(tmp_path: Path, web: Web) -> None:
    assert "169.254.169.254" in str(fails(tmp_path, web.url("/to-metadata"), Refused))


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://host/x", "gopher://host/x"])
def test_url_that_is_not_http_is_refused(tmp_path: Path, url: str) -> None:
    assert "only http and https" in str(fails(tmp_path, url, Refused))


def test_download_larger_than_the_limit_is_refused(tmp_path: Path, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    def limited(wanted: download.Download) -> None:
        download.download(replace(wanted, most_bytes=1 << 20))

    monkeypatch.setattr(contents, "download", limited)
    for path in ("/disk", "/no-length"):
        assert "more than 1048576 bytes" in str(fails(tmp_path, web.url(path), Refused))


def test_dripping_server_does_not_outlast_the_deadline(tmp_path: Path, web: Web) -> None:
    with pytest.raises(TimedOut):
        stack_contents(tmp_path, web.url("/drip")).bound(after(0.5), lambda text: None).image_file(SUM)
    assert web.dripped == 0
    assert kept(tmp_path) == []


def test_step_that_waits_for_anothers_download_minds_its_own_deadline(tmp_path: Path, web: Web) -> None:
    whole, passed = stack_contents(tmp_path, web.url("/drip")), [0.0]

    def first() -> None:
        with suppress(TimedOut):
            whole.bound(Deadline(60.0, lambda: passed[0]), lambda text: None).image_file(SUM)

    other = threading.Thread(target=first)
    other.start()
    assert web.dripping.wait(60)
    with pytest.raises(TimedOut, match="another step"):
        whole.bound(after(0.1), lambda text: None).image_file(SUM)
    passed[0] = 60.0
    other.join()


def test_fault_of_a_download_does_not_tell_passwords_or_signatures(tmp_path: Path, web: Web) -> None:
    secret = web.url("/status/403?X-Signature=s3cr3t").replace("http://", "http://me:s3cr3t@")
    assert "s3cr3t" not in str(fails(tmp_path, secret, Refused))
    nobody = "http://me:s3cr3t@127.0.0.1:9/x?X-Signature=s3cr3t"
    assert "s3cr3t" not in str(fails(tmp_path, nobody, Unserved))


def test_cache_folder_that_cannot_be_made_is_refused(tmp_path: Path, web: Web) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(Refused, match="cannot keep"):
        stack_contents(tmp_path, web.url("/disk")).image_file(SUM)


def test_cache_folder_follows_the_environment() -> None:
    assert cache_folder({"XDG_CACHE_HOME": "/c", "HOME": "/h"}) == Path("/c/stacksmith/images")
    assert cache_folder({"HOME": "/h"}) == Path("/h/.cache/stacksmith/images")
