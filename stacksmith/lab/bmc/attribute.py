"""The BIOS attributes of the lab's nodes, and the registry that tells what each takes (DSP8010, AttributeRegistry)."""

from typing import Final

from stacksmith.frozen import dataclass
from stacksmith.lab.bmc.message import ROOT, Answer, Request, collection, refusal
from stacksmith.model.types import JSON

REGISTRY: Final = "BiosAttributeRegistry.v1_0_0"
REGISTRIES: Final = f"{ROOT}/Registries"
LANGUAGES: Final = ("de", "en")


@dataclass(frozen=True, slots=True)
class Attribute:
    """One attribute; `values` are those of an enumeration, `least` and `most` bound a number or a text's length."""

    name: str
    kind: str
    default: JSON
    values: tuple[str, ...] = ()
    least: int | None = None
    most: int | None = None
    read_only: bool = False

    def fault(self, value: JSON) -> Answer | None:
        """The refusal of a value that it does not take."""
        if self.read_only:
            return refusal(400, "Base.1.12.PropertyNotWritable", f"The property {self.name} is read only")
        kinds = {"Integer": int, "Boolean": bool}
        if type(value) is not kinds.get(self.kind, str):
            return refusal(400, "Base.1.12.PropertyValueTypeError", f"The property {self.name} must be {self.kind}")
        size = len(value) if isinstance(value, str) else int(value) if isinstance(value, int) else 0
        is_out = size < (self.least or 0) or (self.most is not None and size > self.most)
        if is_out or (self.values and value not in self.values):
            return refusal(400, "Base.1.12.PropertyValueNotInList", f"The value {value} of {self.name} is not possible")
        return None

    def entry(self) -> dict[str, JSON]:
        """Its place in the registry."""
        bounds = ("LowerBound", "UpperBound") if self.kind == "Integer" else ("MinLength", "MaxLength")
        limits = zip(bounds, (self.least, self.most), strict=True)
        values = {"Value": [{"ValueName": value, "ValueDisplayName": value} for value in self.values]}
        return {
            "AttributeName": self.name,
            "Type": self.kind,
            "ReadOnly": self.read_only,
            "DefaultValue": self.default,
            **{key: limit for key, limit in limits if limit is not None},
            **(values if self.values else {}),
        }


ATTRIBUTES: Final = {
    each.name: each
    for each in (
        Attribute("BootMode", "Enumeration", "Uefi", ("Bios", "Uefi")),
        Attribute("EmbeddedSata", "Enumeration", "Raid", ("Ahci", "Ata", "Off", "Raid")),
        Attribute("L2Cache", "String", "10x256 KB", read_only=True),
        Attribute("NicBoot1", "Enumeration", "NetworkBoot", ("Disabled", "NetworkBoot")),
        Attribute("NumCores", "String", "10", most=3),
        Attribute("PowerCapWatts", "Integer", 0, least=0, most=2000),
        Attribute("ProcTurboMode", "Enumeration", "Enabled", ("Disabled", "Enabled")),
        Attribute("QuietBoot", "Enumeration", "true", ("false", "true")),
        Attribute("SecureBootStatus", "Enumeration", "Enabled", ("Disabled", "Enabled")),
        Attribute("SerialNumber", "String", "QPX12345", read_only=True),
        Attribute("ServiceNote", "String", "", most=32),
        Attribute("SysPassword", "Password", ""),
        Attribute("WakeOnLan", "Boolean", True),
    )
}


def in_force(changed: dict[str, JSON]) -> dict[str, JSON]:
    """All attributes, with those that were changed from their defaults."""
    return {name: changed.get(name, attribute.default) for name, attribute in ATTRIBUTES.items()}


def answer(request: Request) -> Answer | None:
    """The answer about the registries; None for other paths."""
    if request.method != "GET" or not request.path.startswith(REGISTRIES):
        return None
    if request.path == REGISTRIES:
        return collection(REGISTRIES, "MessageRegistryFile", [f"{REGISTRIES}/Messages", f"{REGISTRIES}/{REGISTRY}"])
    files = {f"{REGISTRIES}/{REGISTRY}/{language}.json": language for language in LANGUAGES}
    if request.path == f"{REGISTRIES}/{REGISTRY}":
        data: dict[str, JSON] = {
            "@odata.id": request.path,
            "@odata.type": "#MessageRegistryFile.v1_1_0.MessageRegistryFile",
            "Id": REGISTRY,
            "Registry": REGISTRY,
            "Languages": list(LANGUAGES),
            "Location": [{"Language": language, "Uri": path} for path, language in files.items()],
        }
        return Answer(200, data)
    if request.path not in files:
        return refusal(404, "Base.1.12.ResourceMissingAtURI", f"There is no {request.path}")
    entries = [attribute.entry() for attribute in ATTRIBUTES.values()]
    data = {
        "@odata.id": request.path,
        "@odata.type": "#AttributeRegistry.v1_3_0.AttributeRegistry",
        "Id": REGISTRY,
        "Language": files[request.path],
        "RegistryEntries": {"Attributes": entries},
    }
    return Answer(200, data)
