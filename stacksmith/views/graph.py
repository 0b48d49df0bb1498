"""What must be done before what, for Graphviz and Mermaid."""

from collections.abc import Iterable, Iterator

from stacksmith.frozen import dataclass
from stacksmith.model.kinds.server import ServerSpec
from stacksmith.model.kinds.volume import VolumeSpec
from stacksmith.model.stack import Resource, Stack
from stacksmith.planner.plan import Plan


@dataclass(frozen=True, slots=True)
class Graph:
    """Nodes as (name, colour word) and edges as (from, to): ``to`` must be there before ``from``.

    What follows from other edges has none of its own, as a drawing of Terraform's has it.
    """

    nodes: tuple[tuple[str, str], ...]
    edges: tuple[tuple[str, str], ...]


_FILL = {"create": "#d5f5d5", "update": "#fff3c4", "delete": "#f9d0d0", "migrate": "#d5e5f9", "forget": "#eeeeee"}


def plan_graph(plan: Plan) -> Graph:
    """The steps of a plan with their requirements."""
    ids = {step.id for step in plan.steps}
    edges = ((step.id, need) for step in plan.steps for need in step.requires if need in ids)
    return Graph(tuple((step.id, step.operation.value) for step in plan.steps), _reduced(edges))


def stack_graph(stack: Stack) -> Graph:
    """The resources of a stack with what they refer to and depend on; what the fleet offers is left out."""
    names = {str(address) for address in stack.resources}
    edges = {(str(address), need) for address, resource in stack.resources.items() for need in _needs(resource) & names}
    return Graph(tuple((str(address), "") for address in sorted(stack.resources)), _reduced(edges))


def _reduced(edges: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """The fewest edges from which all follow. There is no circle: the loader and the planner refuse them."""
    import networkx

    return tuple(sorted(networkx.transitive_reduction(networkx.DiGraph(edges)).edges))


def _needs(resource: Resource) -> set[str]:
    spec = resource.spec
    needs = {str(address) for address in resource.depends_on}
    if isinstance(spec, VolumeSpec | ServerSpec):
        needs.add(f"image.{spec.image}")
    if isinstance(spec, ServerSpec):
        needs |= {f"flavor.{spec.flavor}", f"keypair.{spec.keypair}", f"server_group.{spec.group}"}
        needs |= {f"network.{nic.network}" for nic in spec.networks}
        for mapping in spec.block_device_mapping:
            needs |= {f"image.{mapping.image}", f"volume.{mapping.volume}"}
    return needs


def dot(graph: Graph) -> str:
    """Graphviz: ``dot -Tsvg``."""
    return "\n".join(["digraph stacksmith {", "  rankdir = LR", "  node [shape = box]", *_dot(graph), "}"]) + "\n"


def _dot(graph: Graph) -> Iterator[str]:
    for name, kind in graph.nodes:
        fill = f' [style = filled, fillcolor = "{_FILL[kind]}"]' if kind in _FILL else ""
        yield f"  {_dot_name(name)}{fill}"
    for start, end in graph.edges:
        yield f"  {_dot_name(start)} -> {_dot_name(end)}"


def _dot_name(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def mermaid(graph: Graph) -> str:
    """Mermaid, as GitHub and GitLab draw it in Markdown."""
    numbers = {name: f"n{index}" for index, (name, _) in enumerate(graph.nodes)}
    used = sorted({kind for _, kind in graph.nodes if kind in _FILL})
    lines = [
        "flowchart LR",
        *(f"  {numbers[name]}[{_mermaid_text(name)}]{_class(kind)}" for name, kind in graph.nodes),
        *(f"  {numbers[start]} --> {numbers[end]}" for start, end in graph.edges),
        *(f"  classDef {kind} fill:{_FILL[kind]},color:#000" for kind in used),
    ]
    return "\n".join(lines) + "\n"


def _class(kind: str) -> str:
    return f":::{kind}" if kind in _FILL else ""


def _mermaid_text(name: str) -> str:
    return '"' + _entities(name, '"&<>#') + '"'


def _entities(text: str, characters: Iterable[str]) -> str:
    escaped = set(characters)
    return "".join(f"#{ord(each)};" if each in escaped else each for each in text)
