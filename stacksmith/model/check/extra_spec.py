"""Extra specs of flavors: Nova's namespaces (nova/api/validation/extra_specs), their keys and their values."""

import re
from collections.abc import Collection
from typing import Final

from stacksmith.model.check.reporter import Reporter
from stacksmith.model.kinds.flavor import FlavorSpec
from stacksmith.model.near import meant
from stacksmith.model.operator import fault
from stacksmith.model.stack import Resource, Stack
from stacksmith.model.validate import found

_BOOLEAN: Final = r"(?i:true|false|yes|no|on|off|1|0)"
_NUMBER: Final = r"[0-9]{1,9}"
_CPUS: Final = r"[\^0-9,-]+"
_PAGE_SIZE: Final = r"large|small|any|[0-9]+\s?([kKMGT](i?[bB])?)?"
_WORDS: Final = {
    _BOOLEAN: "true or false",
    _NUMBER: "a whole number",
    _CPUS: "a list of CPUs, as 0-3,^1",
    _PAGE_SIZE: "large, small, any or a size, as 2 MiB",
}

# Keys with the values they take; an empty pattern takes any text.
KEYS: Final[dict[str, str]] = {
    "hw:cpu_policy": "dedicated|shared|mixed",
    "hw:cpu_thread_policy": "prefer|isolate|require",
    "hw:cpu_dedicated_mask": _CPUS,
    "hw:cpu_realtime": _BOOLEAN,
    "hw:cpu_realtime_mask": _CPUS,
    "hw:emulator_threads_policy": "isolate|share",
    **{f"hw:cpu_{limit}{part}": _NUMBER for limit in ("", "max_") for part in ("sockets", "cores", "threads")},
    "hw:numa_nodes": _NUMBER,
    "hw:pci_numa_affinity_policy": "required|preferred|legacy|socket",
    "hw:mem_page_size": _PAGE_SIZE,
    "hw:locked_memory": _BOOLEAN,
    "hw:mem_encryption": _BOOLEAN,
    "hw:mem_encryption_model": "amd-sev|amd-sev-es|amd-sev-snp",
    "hw:hide_hypervisor_id": _BOOLEAN,
    "hw:boot_menu": _BOOLEAN,
    "hw:vif_multiqueue_enabled": _BOOLEAN,
    "hw:pmem": "",
    "hw:pmu": _BOOLEAN,
    "hw:serial_port_count": _NUMBER,
    "hw:tpm_model": "tpm-tis|tpm-crb",
    "hw:tpm_version": r"1\.2|2\.0",
    "hw:tpm_secret_security": "user|host|deployment",
    "hw:watchdog_action": "none|pause|poweroff|reset|disabled",
    "hw:viommu_model": "intel|smmuv3|virtio|auto",
    "hw:virtio_packed_ring": _BOOLEAN,
    "hw:sound_model": "",
    "hw:usb_model": "",
    "hw:redirected_usb_ports": "[0-9]|1[0-5]",
    "hw:ephemeral_encryption": _BOOLEAN,
    "hw:ephemeral_encryption_format": "plain|luks|luksv2",
    "hw:maxphysaddr_mode": "emulate|passthrough",
    "hw:maxphysaddr_bits": _NUMBER,
    "hw:machine_type": "",
    "quota:cpu_shares": _NUMBER,
    "quota:cpu_period": _NUMBER,
    "quota:cpu_quota": f"-?{_NUMBER}",
    **{
        f"quota:disk_{way}_{unit}_sec": r"[0-9]{1,15}"
        for way in ("read", "write", "total")
        for unit in ("bytes", "iops")
    },
    **{
        f"quota:vif_{way}_{rate}": r"[0-9]{1,15}"
        for way in ("inbound", "outbound")
        for rate in ("average", "peak", "burst")
    },
    "os:secure_boot": "required|disabled|optional",
    "hw_rng:allowed": _BOOLEAN,
    "hw_rng:rate_bytes": _NUMBER,
    "hw_rng:rate_period": _NUMBER,
    "hw_video:ram_max_mb": _NUMBER,
    "pci_passthrough:alias": r"[^:,]+:[0-9]+(,[^:,]+:[0-9]+)*",
    "accel:device_profile": "",
    "group_policy": "none|isolate",
}
# Keys with a name of the user's in them.
PATTERNS: Final[tuple[tuple[str, str, str], ...]] = (
    (r"hw:numa_cpus\.[0-9]+", _CPUS, "a list of CPUs, as 0-3"),
    (r"hw:numa_mem\.[0-9]+", _NUMBER, "MiB"),
    (r"resources(_[A-Za-z0-9_-]+|[0-9]*):[A-Z0-9_]+", _NUMBER, "a whole number"),
    (r"trait(_[A-Za-z0-9_-]+|[0-9]*):[A-Z0-9_]+", "required|forbidden", "required or forbidden"),
)
AGGREGATE_SCOPE: Final = "aggregate_instance_extra_specs"
_FILTERS: Final = {
    AGGREGATE_SCOPE: "AggregateInstanceExtraSpecsFilter",
    "capabilities": "ComputeCapabilitiesFilter",
}  # of scopes
# Keys that something here carries out; other keys of Nova would silently have no effect and are refused.
CARRIED: Final = frozenset(
    {
        "hw:cpu_policy",
        "hw:cpu_sockets",
        "hw:cpu_cores",
        "hw:cpu_threads",
        "hw:numa_nodes",
        "hw:mem_page_size",
        "hw:pci_numa_affinity_policy",
        "pci_passthrough:alias",
        "os:secure_boot",
        "group_policy",
    }
)
_NOT_CARRIED: Final = {("hw:cpu_policy", "mixed")}  # values of keys that are carried out
_SO_ANYWAY: Final = {("hw:cpu_thread_policy", "prefer"), ("hw:emulator_threads_policy", "share")}
NAMESPACES: Final = ("hw", "quota", "os", "hw_rng", "hw_video", "pci_passthrough", "accel")


def check_extra_specs(stack: Stack, reporter: Reporter) -> None:
    """Wrong values are errors; keys that Nova does not know are warnings, as they have no effect."""
    filters = stack.fleet.scheduler.enabled_filters
    for resource in stack.resources.values():
        if isinstance(resource.spec, FlavorSpec):
            for key, value in resource.spec.extra_specs.items():
                _check(resource, key, value, filters, reporter)


def _check(resource: Resource, key: str, value: str, filters: Collection[str], reporter: Reporter) -> None:
    path = ("extra_specs", key)
    scope, colon, _ = key.partition(":")
    if scope in _FILTERS or (not colon and _FILTERS[AGGREGATE_SCOPE] in filters):
        if cause := fault(value):
            reporter.fault("wrong-value", resource, path, cause)
        wanted = _FILTERS[scope] if colon else None
        if wanted is not None and wanted not in filters:
            cause = f"extra spec {found(key)} has no effect: {wanted} is not enabled"
            reporter.warning("no-effect", resource, path, cause, f"add {wanted} to the fleet's enabled_filters")
        return
    known = _pattern(key)
    if known is not None:
        pattern, words = known
        if pattern and not re.fullmatch(pattern, value):
            expected = words or pattern.replace("\\", "").replace("|", ", ")
            reporter.fault("wrong-value", resource, path, f"expected {expected}, found {found(value)}")
        elif not _is_carried(key, value):
            cause = f"{found(value)} is not carried out" if key in CARRIED else "it is not carried out"
            reporter.fault("unsupported-extra-spec", resource, path, cause, "take it out: it would have no effect")
        return
    namespace = key.partition(":")[0]
    if namespace.rstrip("0123456789") in ("trait", "resources"):
        cause = f"{found(key)} is not a name of placement: upper case letters, digits and _"
        reporter.fault("bad-name", resource, path, cause, f"as {namespace}:{key.partition(':')[2].upper()[:60]}")
        return
    hint = meant(key, KEYS, 0.75)
    if ":" not in key or namespace in NAMESPACES:
        reporter.warning("unknown-extra-spec", resource, path, f"extra spec {found(key)} is not known", hint)


def is_sound(key: str, value: str) -> bool:
    """False for a value that breaks its pattern, or that nothing carries out."""
    known = _pattern(key)
    return known is None or ((not known[0] or bool(re.fullmatch(known[0], value))) and _is_carried(key, value))


def _is_carried(key: str, value: str) -> bool:
    """True when something here does what the value says, or when it is so anyway."""
    if key in KEYS and key not in CARRIED:
        return (key, value) in _SO_ANYWAY
    return (key, value) not in _NOT_CARRIED


def _pattern(key: str) -> tuple[str, str] | None:
    """What values a key takes, in a pattern and in words; None for an unknown key."""
    if key in KEYS:
        return KEYS[key], _WORDS.get(KEYS[key], "")
    return next(((values, words) for keys, values, words in PATTERNS if re.fullmatch(keys, key)), None)
