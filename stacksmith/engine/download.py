"""Gets one file by http(s) into its place: whole and verified, or not at all."""

import fcntl
import hashlib
import os
import socket
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from stacksmith.frozen import dataclass
from stacksmith.providers.base import Deadline, Refused, TimedOut, Transient, Unserved

if TYPE_CHECKING:
    import requests

CHUNK_BYTES = 1 << 20
MOST_BYTES = 256 << 30
MOST_REDIRECTS = 5
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 30.0  # longest time without a byte
POLL_SECONDS = 0.5
MIB = 1 << 20
METADATA = frozenset({ip_address("fd00:ec2::254"), ip_address("100.100.100.200")})  # of EC2 by IPv6, of Alibaba
# 408, 425, 429 and all from 500 may pass by themselves.
_PASSING = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True)
class Download:
    """What to get: the bytes of ``checksum`` (``sha256:…``, ``sha512:…``) from ``url``, to ``path``."""

    url: str
    checksum: str
    path: Path
    deadline: Deadline | None
    progress: Callable[[str], None]
    most_bytes: int = MOST_BYTES

    @property
    def where(self) -> str:
        """The URL as it may be shown: passwords, and queries that may hold a signature, are left out."""
        parts = urlsplit(self.url)
        host = parts.netloc.rpartition("@")[2]
        return urlunsplit((parts.scheme, host, parts.path, "", ""))

    def check_time(self) -> None:
        """Raises: TimedOut past the deadline."""
        if self.deadline is not None and not self.deadline.seconds:
            raise TimedOut(f"cannot download {self.where}: its time is over")


def download(wanted: Download) -> None:
    """Writes the file, durable, when all of it has come and its checksum is right; several processes may try at once.

    Raises: Refused (wrong bytes, not there, not http), Transient (network), TimedOut.
    """
    if urlsplit(wanted.url).scheme not in {"http", "https"}:
        raise Refused(f"cannot download {wanted.where}: only http and https URLs are followed")
    partial = wanted.path.with_name(f"{wanted.path.name}.partial")
    try:
        wanted.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        while not wanted.path.exists():
            with os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
                _lock(wanted, file)
                if not _is_at(file, partial):
                    continue
                if wanted.path.exists():  # another process made it since the last look
                    partial.unlink()
                else:
                    _fill(wanted, file, partial)
        _sync(wanted.path.parent)
    except OSError as fault:
        raise Refused(f"cannot keep {wanted.where} in {wanted.path.parent}: {fault.strerror or fault}") from fault


def _lock(wanted: Download, file: IO[bytes]) -> None:
    """Waits while another process downloads the same; the kernel drops the lock of one that is killed, and what it
    left is written over."""
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            wanted.check_time()
            wanted.progress("waiting for another process to download it")
            time.sleep(POLL_SECONDS)


def _is_at(file: IO[bytes], path: Path) -> bool:
    """False when the file's former holder has moved it away."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _fill(wanted: Download, file: IO[bytes], partial: Path) -> None:
    try:
        file.truncate()
        _fetch(wanted, file)
        file.flush()
        os.fsync(file.fileno())
        partial.rename(wanted.path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _sync(folder: Path) -> None:
    """Makes names in the folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _fetch(wanted: Download, file: IO[bytes]) -> None:
    import requests
    from urllib3.exceptions import HTTPError

    where = wanted.where
    try:
        with requests.Session() as session:
            session.max_redirects = MOST_REDIRECTS
            _guard(session)
            limits = (CONNECT_SECONDS, SILENCE_SECONDS)
            # The bytes as they are published: a server that packs them on the way would change the checksum.
            headers = {"Accept-Encoding": "identity", "User-Agent": "stacksmith"}
            with session.get(wanted.url, stream=True, timeout=limits, headers=headers) as response:
                _check_status(wanted, response)
                _copy(wanted, response, file)
    except requests.exceptions.SSLError as fault:
        raise Refused(f"cannot download {where}: TLS: {_reason(fault)}") from fault
    except (requests.exceptions.ConnectionError, requests.exceptions.Timeout, HTTPError) as fault:
        raise _lost(where, fault) from fault
    except requests.exceptions.TooManyRedirects as fault:
        raise Refused(f"cannot download {where}: more than {MOST_REDIRECTS} redirects") from fault
    except requests.exceptions.RequestException as fault:
        raise Refused(f"cannot download {where}: {type(fault).__name__}") from fault


def _guard(session: "requests.Session") -> None:
    """Looks at every host before it is asked, those of redirects too."""
    from requests.adapters import HTTPAdapter

    class Guarded(HTTPAdapter):
        def send(self, request: "requests.PreparedRequest", *given: Any, **named: Any) -> "requests.Response":
            check_host(urlsplit(request.url or "").hostname or "")
            return super().send(request, *given, **named)

    for scheme in ("http://", "https://"):
        session.mount(scheme, Guarded())


def check_host(host: str) -> None:
    """Raises: Refused for a cloud's metadata service: no stack makes the one who applies it ask there."""
    try:
        found = {answer[4][0] for answer in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):
        return  # the request itself says so; behind a proxy names need not be known here
    for text in found:
        address = ip_address(str(text).partition("%")[0])
        address = getattr(address, "ipv4_mapped", None) or address
        if address.is_link_local or address in METADATA:
            raise Refused(f"cannot download from {host}: {address} is no address of an image server")


def _lost(where: str, fault: BaseException) -> Transient:
    cause = f"cannot download {where}: {_reason(fault)}"
    inner = _innermost(fault)
    if isinstance(inner, ConnectionRefusedError):
        return Unserved(cause, hint="is the server up, and the port of the URL right?")
    if isinstance(inner, socket.gaierror) and inner.errno == socket.EAI_NONAME:
        return Unserved(cause, hint="is the host of the URL spelt right?")
    return Transient(cause)


def _innermost(fault: BaseException) -> BaseException:
    """The cause: requests and urllib3 wrap it, in other attributes each."""
    inner = fault
    while (below := getattr(inner, "reason", None) or next(iter(inner.args), None)) is not None:
        if not isinstance(below, BaseException):
            break
        inner = below
    while not isinstance(inner, OSError) and (below := inner.__cause__ or inner.__context__) is not None:
        inner = below
    return inner


def _reason(fault: BaseException) -> str:
    """The cause in words, without the URL and its secrets, which are repeated on the way."""
    inner = _innermost(fault)
    text = getattr(inner, "strerror", None) or str(inner)
    return text if "://" not in text else type(inner).__name__


def _check_status(wanted: Download, response: "requests.Response") -> None:
    status = response.status_code
    if status == 200:
        return
    cause = f"cannot download {wanted.where}: HTTP {status} {response.reason}"
    raise Transient(cause) if status in _PASSING or status >= 500 else Refused(cause)


def _copy(wanted: Download, response: "requests.Response", file: IO[bytes]) -> None:
    """Writes and sums up what comes. Raises: Refused when it is too much or not what was asked for."""
    announced = response.headers.get("Content-Length", "")
    total = int(announced) if announced.isascii() and announced.isdigit() else None
    algorithm = wanted.checksum.partition(":")[0]
    digest, size, told = hashlib.new(algorithm), 0, 0.0
    # read1 gives what is there, so that a dripping server cannot outlast the deadline; urllib3 1 lacks it.
    read = getattr(response.raw, "read1", response.raw.read)
    while chunk := read(CHUNK_BYTES, decode_content=False):
        size += len(chunk)
        if max(size, total or 0) > wanted.most_bytes:
            raise Refused(f"cannot download {wanted.where}: more than {wanted.most_bytes} bytes")
        digest.update(chunk)
        file.write(chunk)
        wanted.check_time()
        if time.monotonic() - told >= 1:
            told = time.monotonic()
            wanted.progress(f"downloading {size // MIB}{f' of {total // MIB}' if total else ''} MiB")
    found = f"{algorithm}:{digest.hexdigest()}"
    if found != wanted.checksum:
        raise Refused(
            f"cannot use {wanted.where}: its checksum is {found}, expected {wanted.checksum}",
            hint="the file at the source has changed, or the checksum is mistyped",
        )
