"""What sushy raises, and BMCs say, as faults in our words."""

import ssl
from collections.abc import Mapping, Sequence
from typing import Any, Final

import requests
from sushy import exceptions

from stacksmith.providers.base import Gone, ProviderError, Refused, TimedOut, Transient
from stacksmith.providers.bmc import NotNow, Unreachable

# Messages of refusals that pass by themselves, without the version that vendors put before them.
NOT_NOW: Final = (
    "InvalidOperationForSystemState",  # HPE, while the machine starts
    "UnableToModifyDuringSystemPOST",
    "ActionParameterValueConflict",  # iDRAC 10, just after an off
    "SYS518",  # iDRAC, after each job
    "RAC0218",  # its sessions are all in use
    "SessionLimitExceeded",
    "ResourceInUse",
    "ServiceTemporarilyUnavailable",
)
# Messages about what a request lacks, or has too much; their arguments are names (Base message registry, DSP2065).
PARAMETERS: Final = (
    "ActionParameterMissing",
    "ActionParameterNotSupported",
    "ActionParameterUnknown",
    "PropertyMissing",
    "PropertyUnknown",
)
NO_WAY: Final = ("NewConnectionError", "NameResolutionError")  # of urllib3
CUT_OFF: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError)  # a connection that ended, as any may: no word on trust
HIDDEN: Final = "(sensitive value)"
LEAST_SECRET: Final = 4  # characters
LICENCE_HINT: Final = "the BMC needs a licence for this: buy it, or do without"


class NotSigned(Refused):
    """401: the request was not carried out, for who asked."""


class OtherTag(Transient):
    """A write was not carried out, for the entity tag that came with it, or did not (412, 428)."""


class OtherParameters(Refused):
    """The BMC wants a parameter that did not come, or does not know one that did."""


class Failed(Transient):
    """5xx: the BMC came to an end with the request, and says that it did not do it."""


def fault_of(name: str, path: str, fault: exceptions.SushyError, secrets: Sequence[str] = ()) -> ProviderError:
    """The fault of a request for ``path`` to the BMC of the node ``name``, without these: some BMCs say again what was
    sent to them."""
    found = _fault(name, path, fault)
    words = str(found)
    for secret in secrets:
        if len(secret) >= LEAST_SECRET:  # less is in every text
            words = words.replace(secret, HIDDEN)
    return type(found)(words, found.path, found.hint)


def _fault(name: str, path: str, fault: exceptions.SushyError) -> ProviderError:
    if isinstance(fault, exceptions.HTTPError):
        return _refusal(name, path, fault)
    cause = fault.__context__
    if isinstance(cause, requests.exceptions.SSLError) and not isinstance(_bottom(cause), CUT_OFF):
        words = _innermost(cause)
        hint = "name the authority that signed its certificate: ca: FILE; or, when nobody did, verify: false"
        if "mismatch" in words:
            hint = "its certificate is for another name: use that in redfish:, or say verify: false"
        return Refused(f"cannot trust the BMC of {name}: {words}", "ca", hint)
    if isinstance(cause, requests.exceptions.ConnectTimeout):
        return Unreachable(f"cannot reach the BMC of {name}: no connection in time")
    if isinstance(cause, requests.exceptions.Timeout):
        return TimedOut(f"cannot ask {name} for {path}: no answer in time")
    if isinstance(cause, requests.exceptions.ConnectionError) and any(each in repr(cause) for each in NO_WAY):
        return Unreachable(f"cannot reach the BMC of {name}: {_innermost(cause)}")
    return Transient(f"cannot ask {name} for {path}: {_innermost(cause or fault)}")


def _refusal(name: str, path: str, fault: exceptions.HTTPError) -> ProviderError:
    identifiers, words = messages(fault.extended_info)
    words = words or str(fault.detail or "")
    status, cause = fault.status_code, f"{fault.status_code} {words or 'without a reason'}"
    text = f"cannot use {path} of {name}: {cause}"
    if status == 401:
        hint = "check username and password of the node in the fleet file; some BMCs take sessions alone: auth: auto"
        return NotSigned(f"cannot sign in to the BMC of {name}: {cause}", "password", hint)
    if status in (404, 501):  # the second: not for this machine, or not as it is
        return Gone(text)
    if status in (412, 428):
        return OtherTag(text)
    if status in (409, 429) or any(word in NOT_NOW for word in identifiers):
        return NotNow(text)
    if status >= 500:
        return Failed(text)
    is_for_sale = "licen" in words.lower() or any(word.startswith("LIC") for word in identifiers)
    if not is_for_sale and any(word in PARAMETERS for word in identifiers):
        return OtherParameters(text)
    return Refused(text, hint=LICENCE_HINT if is_for_sale else None)


def messages(extended_info: Any) -> tuple[list[str], str]:
    """The ids of messages without registry and version, and their texts; BMCs send a list or one alone."""
    entries = extended_info if isinstance(extended_info, list) else [extended_info]
    entries = [entry for entry in entries if isinstance(entry, dict)]
    identifiers = [str(entry.get("MessageId") or "").rpartition(".")[2] for entry in entries]
    texts = [_text(entry, identifier) for entry, identifier in zip(entries, identifiers, strict=True)]
    return identifiers, "; ".join(dict.fromkeys(text for text in texts if text))


def _text(entry: Mapping[str, Any], identifier: str) -> str:
    """What a message says; of one about parameters also their names, which some BMCs have beside the text alone."""
    text = str(entry.get("Message") or "")
    if identifier not in PARAMETERS:
        return text
    names, pointers = (entry.get(key) for key in ("MessageArgs", "RelatedProperties"))
    named = [str(name) for name in names] if isinstance(names, list) else []
    if isinstance(pointers, list):
        named += [str(pointer).rpartition("/")[2] for pointer in pointers]
    untold = [name for name in dict.fromkeys(named) if name and name not in text]
    return f"{text or identifier} ({', '.join(untold)})" if untold else text or identifier


def _innermost(fault: BaseException) -> str:
    """What the system said, at the bottom of the errors that libraries put around it."""
    reason = _bottom(fault)
    system = reason.__cause__ or reason.__context__ or reason
    if isinstance(system, OSError) and system.strerror:
        return system.strerror
    return str(reason).rpartition(": ")[2] or type(reason).__name__


def _bottom(fault: BaseException) -> BaseException:
    reason = fault
    while True:
        inner = getattr(reason, "reason", None) or (reason.args[-1] if reason.args else None)
        if not isinstance(inner, BaseException) or inner is reason:
            return reason
        reason = inner
