"""What was gathered, made into a stack: blocks expanded and validated, files found, references checked."""

import re
from dataclasses import field
from pathlib import Path
from typing import Any, Final

from stacksmith.address import Address, address_of
from stacksmith.frozen import dataclass
from stacksmith.model.check.stack import check_stack
from stacksmith.model.document import Places, locate
from stacksmith.model.expand import MAX_FAULTY, Block, Evaluator, Instance, expand
from stacksmith.model.fileaccess import FileFault
from stacksmith.model.fleet import Fleet
from stacksmith.model.fleet_file import FleetFile, builtin_fleet
from stacksmith.model.gather import SECTIONS, TIME_LIMIT, Gathered, LoadOptions, Module, read_fleet
from stacksmith.model.image_file import image_files
from stacksmith.model.kinds.flavor import FlavorSpec
from stacksmith.model.kinds.image import ImageSpec
from stacksmith.model.kinds.keypair import KeypairSpec
from stacksmith.model.kinds.network import NetworkSpec
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.kinds.server_group import ServerGroupSpec
from stacksmith.model.kinds.volume import VolumeSpec
from stacksmith.model.sandbox import BROKEN
from stacksmith.model.spec import Spec
from stacksmith.model.stack import ImageFileSource, Resource, Stack, Unread
from stacksmith.model.template import TemplateFault
from stacksmith.model.types import JSON
from stacksmith.model.user_data import UserData
from stacksmith.model.validate import check_shape, found, validate
from stacksmith.source import Span

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
KINDS: Final[dict[str, tuple[str, type[Spec]]]] = {
    "flavors": ("flavor", FlavorSpec),
    "images": ("image", ImageSpec),
    "keypairs": ("keypair", KeypairSpec),
    "networks": ("network", NetworkSpec),
    "server_groups": ("server_group", ServerGroupSpec),
    "volumes": ("volume", VolumeSpec),
    "servers": ("server", ServerSpec),
}
MAX_RESOURCES: Final = 200_000
MAX_USER_DATA: Final = 2**28  # of all servers together
EXPANDED: Final = ("volume", "server")
STRATEGIES: Final = ("spread", "pack", "optimal")
TIME_LIMIT_SECONDS: Final = 60  # of the strategy optimal, where the stack gives none


@dataclass(frozen=True, slots=True)
class _Scope:
    """What the blocks of one module share."""

    module: Module
    user_data: UserData


@dataclass(slots=True)
class Assembly:
    """One load at work."""

    gathered: Gathered
    path: Path
    options: LoadOptions
    evaluator: Evaluator
    resources: dict[Address, Resource] = field(default_factory=dict)
    files: dict[str, dict[str, ImageFileSource]] = field(default_factory=dict)
    declared: dict[Address, Span] = field(default_factory=dict)  # blocks by address without key, faulty ones too
    unread: list[Unread] = field(default_factory=list)  # what has faults of its own
    unrolled: dict[str, JSON] = field(default_factory=dict)  # servers with count or for_each: the shape when empty
    outputs: dict[str, str] = field(default_factory=dict)
    output_places: dict[str, Span] = field(default_factory=dict)
    user_data_size: int = 0

    def stack(self) -> Stack | None:
        """The stack, or None when it cannot be made; with faults it may be incomplete."""
        fleet = self._fleet()
        for module in self.gathered.modules:
            self._module(module)
        if not self.gathered.modules or fleet is None:
            return None
        context = self.gathered.modules[0].context
        stack = Stack(
            name=self.gathered.name,
            path=self.path,
            fleet=fleet.fleet,
            fleet_path=fleet.path,
            resources=dict(sorted(self.resources.items(), key=lambda item: item[0].order)),
            flavors={**fleet.fleet.flavors, **self._named(FlavorSpec)},
            images={**fleet.fleet.images, **self._named(ImageSpec)},
            image_files=self.files,
            keypairs=self._named(KeypairSpec),
            server_groups=self._named(ServerGroupSpec),
            outputs=self.outputs,
            variables=dict(context["var"]),
            strategy=self._strategy(fleet.fleet),
            strategy_place=self.gathered.head.get("strategy", (None, None))[1],
            placement_time_limit_seconds=self._time_limit(),
            output_places=self.output_places,
            unrolled=self.unrolled,
            secrets=self.evaluator.findings.secrets,
            state_place=fleet.block()(("state",)) if fleet.fleet.state else None,
            host_places={name: fleet.block("hosts", name)(("libvirt",)) for name in fleet.fleet.hosts},
        )
        return check_stack(stack, self.declared, self.unread, fleet, self.evaluator.findings)

    def _named(self, kind: type[Any]) -> dict[str, Any]:
        return {a.name: r.spec for a, r in self.resources.items() if isinstance(r.spec, kind)}

    def _strategy(self, fleet: Fleet) -> str:
        value, where = self.gathered.head.get("strategy", ("spread", None))
        if isinstance(value, str) and value not in STRATEGIES:
            cause = f"expected {', '.join(STRATEGIES[:-1])} or {STRATEGIES[-1]}, found {found(value)}"
            self.evaluator.findings.error("wrong-value", f"cannot read strategy: {cause}", where)
        elif where is not None and fleet.scheduler.weighers and value != "optimal":
            message, hint = "strategy has no effect: the fleet's scheduler weighs hosts", "take it out"
            self.evaluator.findings.warning("no-effect", message, where, hint)
        return value if value in STRATEGIES else "spread"

    def _time_limit(self) -> int:
        value, where = self.gathered.head.get(TIME_LIMIT, (TIME_LIMIT_SECONDS, None))
        if isinstance(value, int) and not 1 <= value <= 3600:
            cause = f"expected 1 to 3600, found {found(value)}"
            self.evaluator.findings.error("out-of-range", f"cannot read {TIME_LIMIT}: {cause}", where)
        return value if isinstance(value, int) else TIME_LIMIT_SECONDS

    def _fleet(self) -> FleetFile | None:
        findings = self.evaluator.findings
        if self.options.fleet is not None:
            return read_fleet(self.options.fleet, self.options, findings)
        in_memory = self.options.provider == "memory"
        folder = self.path if self.path.is_dir() else self.path.parent
        value, where = self.gathered.head.get("fleet", (None, None))
        if value is None and in_memory:
            return builtin_fleet(folder / "fleet.yaml")
        if not isinstance(value, str):
            if value is None and self.gathered.modules:
                hint = "add fleet: PATH, name one with --fleet, or try --provider memory"
                document = self.gathered.modules[0].documents[0]
                where = document.span(document.places)
                findings.error("no-fleet", "cannot load the stack: it names no fleet file", where, hint)
            return None
        module = self.gathered.modules[0]
        try:
            path = module.folder.shown(value)
            module.folder.check(value)
        except FileFault as fault:
            if in_memory and fault.code == "file-missing":
                return builtin_fleet(folder / "fleet.yaml")
            hint = f"{fault.hint}; --fleet may name any file" if fault.hint else "--fleet names another"
            findings.error(fault.code, f"cannot read the fleet: {fault}", where, hint)
            return None
        return read_fleet(path, self.options, findings)

    def _module(self, module: Module) -> None:
        options = self.options
        user_data = UserData(module.folder, options.environment, options.allow_commands, self.evaluator)
        scope = _Scope(module, user_data)
        for document in module.documents:
            for section in SECTIONS:
                if section not in document.data or document.data[section] is None:
                    continue
                node = locate(document.places, (section,))
                data = document.data[section]
                if not isinstance(data, dict) or not isinstance(node, Places):
                    cause = f"expected a mapping of names, found {found(data)}"
                    message = f"cannot read {section}: {cause}"
                    self.evaluator.findings.error("wrong-type", message, document.span(node))
                    continue
                for name, block_data in data.items():
                    kind = KINDS[section][0]
                    block = Block(document, (section, name), f"{kind}.{name}", locate(node, (name,)))
                    if self._is_new(address_of(kind, name), block):
                        self._block(section, name, block_data, scope, block)
            self._outputs(document.data.get("outputs"), Block(document, ("outputs",), "outputs"))

    def _is_new(self, address: Address, block: Block) -> bool:
        findings, where = self.evaluator.findings, block(key=True)
        if not NAME.fullmatch(address.name):
            hint = "use up to 63 letters, digits, '_', '.' and '-', a letter or digit first"
            findings.error("bad-name", f"cannot read {address.kind} {found(address.name)}: not a name", where, hint)
            return False
        if address in self.declared:
            notes = (("first declared here", self.declared[address]),)
            findings.error("duplicate-name", f"cannot read {address}: declared twice", where, None, address, notes)
            return False
        self.declared[address] = where
        return True

    def _block(self, section: str, name: str, data: JSON, scope: _Scope, block: Block) -> None:
        kind, model = KINDS[section]
        failed = self.evaluator.failed
        if isinstance(data, dict) and kind not in EXPANDED:
            data = dict(data)
            instances = [self._single(kind, name, data, scope, block)]
        else:
            if kind == "server" and isinstance(data, dict) and ("count" in data or "for_each" in data):
                self.unrolled[name] = [] if "count" in data else {}
            instances = list(expand(kind, name, data, scope.module.context, block, self.evaluator))
        if self.evaluator.failed > failed and not any(instances):
            self._check_shape(address_of(kind, name), model, data, block)
        faulty = 0
        for instance in instances:
            if instance is None:
                continue
            spec: Any = validate(model, instance.data, instance.address, block, self.evaluator.findings, data)
            if spec is None:
                faulty += 1
                if faulty <= MAX_FAULTY:
                    self.unread.append(Unread(instance.address, instance.data, block))
                continue
            text = scope.user_data.load(spec.user_data, instance, block) if isinstance(spec, ServerSpec) else None
            if not self._has_room(text, block):
                return
            # A server of for_each is one of its own: it is the same one at another place.
            index = instance.index if isinstance(instance.address.key, int) else 0
            resource = Resource(instance.address, spec, block, index, (), text)
            self.resources[instance.address] = resource
            if isinstance(spec, ImageSpec):
                files = image_files(name, spec, block, scope.module.folder, self.evaluator.findings)
                self.files[name] = files or {}

    def _check_shape(self, address: Address, model: type[Any], data: JSON, block: Block) -> None:
        """What is wrong in a block whose expressions failed, besides them."""
        if isinstance(data, dict):
            unrolls = ("count", "for_each") if address.kind in EXPANDED else ()
            body = {key: value for key, value in data.items() if key not in unrolls}
            check_shape(model, body, address, block, self.evaluator.findings)
            self.unread.append(Unread(address, body, block))

    def _has_room(self, text: str | None, block: Block) -> bool:
        self.user_data_size += len(text or "")
        if len(self.resources) < MAX_RESOURCES and self.user_data_size < MAX_USER_DATA:
            return True
        cause = f"more than {MAX_RESOURCES} resources or {MAX_USER_DATA} bytes of user_data"
        self.evaluator.findings.error("too-large", f"cannot expand {block.label}: {cause}", block(key=True))
        return False

    def _single(self, kind: str, name: str, data: JSON, scope: _Scope, block: Block) -> Instance | None:
        value = self.evaluator.evaluate(data, block.node or 0, scope.module.context, block)
        return None if value is BROKEN else Instance(address_of(kind, name), value, 0, scope.module.context)

    def _outputs(self, data: JSON, block: Block) -> None:
        if data is None:
            return
        findings = self.evaluator.findings
        if not isinstance(data, dict):
            findings.error("wrong-type", f"cannot read outputs: expected a mapping, found {found(data)}", block())
            return
        for name, text in data.items():
            where = block((name,))
            if not NAME.fullmatch(name):
                hint = "use up to 63 letters, digits, '_', '.' and '-', a letter or digit first"
                findings.error("bad-name", f"cannot read outputs: {found(name)} is not a name", where, hint)
                continue
            if not isinstance(text, str):
                cause = f"expected text with {{{{ … }}}}, found {found(text)}"
                findings.error("wrong-type", f"cannot read outputs.{name}: {cause}", where)
                continue
            try:
                self.evaluator.expressions.check(text)
            except TemplateFault as fault:
                findings.error(fault.code, f"cannot read outputs.{name}: {fault}", where, fault.hint)
            if name in self.outputs:
                notes = (("first declared here", self.output_places[name]),)
                findings.error("duplicate-name", f"cannot read outputs.{name}: declared twice", where, notes=notes)
            self.outputs[name], self.output_places[name] = text, where
