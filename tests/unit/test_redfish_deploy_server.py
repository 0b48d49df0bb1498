"""What a deploying run serves, and to whom."""

import http.client
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stacksmith.providers.base import Refused
from stacksmith.providers.redfish.deploy.server import Offer, Server, State, event_of, range_of

ISO = bytes(range(256)) * 2048


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server("127.0.0.1:0")
    yield made
    made.close()


@pytest.fixture
def offer(server: Server, tmp_path: Path) -> Offer:
    made = server.offer()
    made.iso = tempfile.TemporaryFile(dir=tmp_path)  # noqa: SIM115
    made.iso.write(ISO)
    made.iso.flush()
    made.image = tmp_path / "image"
    made.image.write_bytes(b"image")
    made.config = b"config"
    return made


class Caller:
    def __init__(self, server: Server) -> None:
        self._server = server

    def __call__(
        self, method: str, path: str, token: str = "", **more: str | bytes
    ) -> tuple[int, bytes, dict[str, str]]:
        body = more.pop("body", None)
        headers = {name.replace("_", "-"): str(value) for name, value in more.items()}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        link = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=120)
        try:
            link.request(method, path, body, headers)
            answer = link.getresponse()
            return answer.status, answer.read(), dict(answer.getheaders())
        finally:
            link.close()


@pytest.fixture
def call(server: Server) -> Caller:
    return Caller(server)


def test_iso_is_served_whole_and_in_parts(offer: Offer, call: Caller) -> None:
    path = f"{offer.path}.iso"
    assert not set(path) & set("?&=")
    status, body, headers = call("GET", path)
    assert (status, body, headers["Accept-Ranges"]) == (200, ISO, "bytes")
    assert call("GET", path, Range="bytes=2048-4095")[:2] == (206, ISO[2048:4096])
    assert call("GET", path, Range="bytes=-100")[:2] == (206, ISO[-100:])
    status, body, headers = call("GET", path, Range="bytes=524000-")
    assert (status, body, headers["Content-Range"]) == (206, ISO[524000:], "bytes 524000-524287/524288")
    assert call("GET", path, Range=f"bytes={len(ISO)}-")[0] == 416
    status, body, headers = call("HEAD", path)
    assert (status, body, headers["Content-Length"]) == (200, b"", str(len(ISO)))


def test_image_and_config_drive_need_the_token_and_end_with_it(offer: Offer, call: Caller) -> None:
    for name, content in (("image", b"image"), ("config", b"config")):
        assert call("GET", f"{offer.path}/{name}")[:2] == (403, b"")
        assert call("GET", f"{offer.path}/{name}", "guess")[:2] == (403, b"")
        assert call("GET", f"{offer.path}/{name}", offer.token)[:2] == (200, content)
    assert call("POST", f"{offer.path}/event", offer.token, body=b"done finish\nsda")[0] == 200
    for name in ("image", "config"):
        assert call("GET", f"{offer.path}/{name}", offer.token)[:2] == (403, b"")


def test_event_with_a_wrong_token_changes_nothing(offer: Offer, call: Caller) -> None:
    for token in ("", "guess"):
        assert call("POST", f"{offer.path}/event", token, body=b"done finish\n")[0] == 403
    assert offer.ended is None and offer.events.empty()


def test_nothing_comes_after_the_last_event_but_its_repeat(offer: Offer, call: Caller) -> None:
    said = [b"started network\n6.1", b"failed disk\nnone", b"failed disk\nnone", b"done finish\n", b"progress x\n"]
    assert [call("POST", f"{offer.path}/event", offer.token, body=each)[0] for each in said] == [
        200,
        200,
        200,
        403,
        403,
    ]
    seen = [offer.events.get_nowait().state for _ in range(2)]
    assert seen == [State.STARTED, State.FAILED] and offer.events.empty()


@pytest.mark.parametrize("body", [b"", b"exploded step\n", b"\xff\xfe"])
def test_body_that_is_no_event_is_refused(offer: Offer, call: Caller, body: bytes) -> None:
    assert call("POST", f"{offer.path}/event", offer.token, body=body)[0] == 400


def test_large_body_is_refused_unread(offer: Offer, call: Caller) -> None:
    assert call("POST", f"{offer.path}/event", offer.token, body=bytes(8193))[0] == 413
    assert (
        call("POST", f"{offer.path}/event", offer.token, body=io.BytesIO(b"x"), Transfer_Encoding="chunked")[0] == 411
    )


def test_nothing_is_listed_or_guessed(offer: Offer, server: Server, call: Caller) -> None:
    run = offer.path.rpartition("/")[0]
    paths = ["/", run, f"{run}/", offer.path, f"{offer.path}/", f"{run}/../etc/passwd", f"{offer.path}x.iso", "*"]
    assert [call("GET", path, offer.token)[:2] for path in paths] == [(404, b"")] * len(paths)
    assert call("GET", f"{offer.path}/secret", offer.token)[0] == 404
    server.withdraw(offer)
    assert call("GET", f"{offer.path}.iso")[0] == 404
    assert offer.iso is not None and offer.iso.closed


def test_detail_is_one_printable_line() -> None:
    event = event_of("failed step\x1b[2J\nno  \x07such\ndisk \x1b[31mé".encode())
    assert event is not None and (event.step, event.detail) == ("step[2J", "no such disk [31mé")


@pytest.mark.parametrize(
    ("first", "last", "span"),
    [("0", "0", (0, 1)), ("5", "", (5, 10)), ("", "3", (7, 10)), ("", "99", (0, 10)), ("4", "99", (4, 10))],
)
def test_range(first: str, last: str, span: tuple[int, int]) -> None:
    assert range_of(first, last, 10) == span


@pytest.mark.parametrize(("first", "last"), [("10", ""), ("", ""), ("", "0"), ("5", "4")])
def test_range_without_bytes(first: str, last: str) -> None:
    assert range_of(first, last, 10) is None


def test_address_that_is_taken_is_refused(server: Server) -> None:
    with pytest.raises(Refused, match=r"cannot listen at 127\.0\.0\.1:") as refusal:
        Server(f"127.0.0.1:{server.port}")
    assert "another run may deploy from here; port 0" in str(refusal.value.hint)
