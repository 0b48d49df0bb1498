"""Small views: values, YAML, tables, graphs, placements, records, outputs, colours."""

import json
from collections.abc import Callable

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from views_plans import CREATE, DB, PLACED, REPLACE, SERVER, UNPLACED, UPDATE, WEB0

from stacksmith.address import Address
from stacksmith.model.found import Found
from stacksmith.model.realised import Policy
from stacksmith.model.record import Record
from stacksmith.views.graph import Graph, dot, mermaid, plan_graph
from stacksmith.views.output import output_raw, outputs_data, outputs_text
from stacksmith.views.paint import COLOURED, PLAIN, Paint, paint_for
from stacksmith.views.path import masked, parts
from stacksmith.views.placement_text import placements_text
from stacksmith.views.resource import record_data, records_text, resource_data
from stacksmith.views.words import clean, duration, size, value
from stacksmith.views.yaml_text import yaml_text

Golden = Callable[[str, str], None]


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (0, "0 B"),
        (512, "512 B"),
        (20 * 2**30, "20 GiB"),
        (3 * 2**29, "1.5 GiB"),
        (2**30 + 1, "1.00 GiB (1073741825 bytes)"),
        (5 * 2**40, "5 TiB"),
        (1536, "1.5 KiB"),
    ],
)
def test_size_is_exact_and_short(amount: int, words: str) -> None:
    assert size(amount) == words


@given(st.integers(0, 2**50), st.integers(0, 2**50))
def test_different_sizes_never_look_the_same(one: int, other: int) -> None:
    assert (size(one) == size(other)) == (one == other)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("x", None, "(none)"),
        ("x", True, "true"),
        ("x", 1.5, "1.5"),
        ("ram_mib", 1024, "1 GiB"),
        ("disks[vda].size_bytes", 2**30, "1 GiB"),
        ("x", 'say "hi"\n', r'"say \"hi\"\n"'),
        ("x", "sha256:" + "a" * 64, '"sha256:aaaaaaaaaaaa…"'),
        ("x", ["a", 1], '["a", 1]'),
        ("x", {}, "{}"),
        ("x", {"size_bytes": 2**30, "ref": None}, "{ size = 1 GiB }"),
    ],
)
def test_value_reads_well(name: str, data: object, words: str) -> None:
    assert value(name, data) == words


@given(st.text())
def test_clean_text_drives_no_terminal(text: str) -> None:
    assert not set(clean(text)) & {*map(chr, (*range(9), *range(11, 32), *range(127, 160))), "\u202e"}


@pytest.mark.parametrize(("seconds", "words"), [(0.9, "0s"), (20.2, "20s"), (80, "1m20s"), (3900, "1h5m0s")])
def test_duration_is_short(seconds: float, words: str) -> None:
    assert duration(seconds) == words


TEXT = st.text(st.characters(codec="utf-8"))
JSON_DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
)


@given(JSON_DATA)
def test_yaml_text_reads_back_as_the_same_data(data: object) -> None:
    assert yaml.safe_load(yaml_text(data)) == data


@pytest.mark.parametrize(
    ("path", "keys"),
    [
        ("ram_mib", ["ram_mib"]),
        ("disks[vdb].size_bytes", ["disks", "vdb", "size_bytes"]),
        ("subnets[10.0.0.0/24].gateway", ["subnets", "10.0.0.0/24", "gateway"]),
        ("nics[52:54:00:00:00:01]", ["nics", "52:54:00:00:00:01"]),
    ],
)
def test_path_has_parts(path: str, keys: list[str]) -> None:
    assert parts(path) == keys


@pytest.mark.parametrize(
    ("path", "changed"),
    [
        (
            "disks[vdb].size",
            {"disks": [{"device": "vda", "size": 1}, {"device": "vdb", "size": "x"}]},
        ),
        ("metadata.os.name", {"metadata": {"os.name": "x", "role": "web"}}),
        ("metadata", {"metadata": "x"}),
        ("nothing.there", {}),
        ("tags[1]", {"tags": ["a", "x"]}),
    ],
)
def test_masked_value_is_replaced_at_its_path_only(path: str, changed: dict[str, object]) -> None:
    data = {
        "disks": [{"device": "vda", "size": 1}, {"device": "vdb", "size": 2}],
        "metadata": {"os.name": "debian", "role": "web"},
        "tags": ["a", "b"],
    }
    assert masked(data, path, "x") == {**data, **changed}


@pytest.mark.parametrize("name", ["create", "replace"])
def test_graph_is_as_accepted(name: str, golden: Golden) -> None:
    graph = plan_graph({"create": CREATE, "replace": REPLACE}[name])
    golden(dot(graph), f"views/graph_{name}.dot")
    golden(mermaid(graph), f"views/graph_{name}.mmd")


def test_graph_escapes_quotes_of_keys() -> None:
    graph = Graph((('server.a["eu"]', ""),), ())
    assert '"server.a[\\"eu\\"]"' in dot(graph)
    assert '["server.a[#34;eu#34;]"]' in mermaid(graph)


def test_placements_are_as_accepted(golden: Golden) -> None:
    golden(placements_text((PLACED, *UNPLACED.placements, *CREATE.placements[2:])), "views/placements.txt")


RECORDS = (
    Record(WEB0, "hv1", "u1", {"vcpus": 1}, Policy(protect=True), requires=(Address("network", "lan", host="hv1"),)),
    Record(DB, "hv2", "u2", None, Policy(on_destroy="keep"), complete=False),
)


def test_records_are_as_accepted(golden: Golden) -> None:
    golden(records_text(RECORDS), "views/records.txt")


def test_record_data_is_json() -> None:
    data = json.loads(json.dumps(record_data(RECORDS[0])))
    assert data["address"] == "server.web[0]"
    assert data["requires"] == ["network.lan@hv1"]


def test_resource_is_as_accepted(golden: Golden) -> None:
    found = Found(WEB0, "hv1", "u1", "shop-web-0", SERVER, "f1", saved=SERVER, facts={"state": "running"})
    golden(yaml_text(resource_data(found, {"vcpus": 1}, UPDATE.steps[0])), "views/resource.yaml")


def test_resource_that_is_nowhere_is_null() -> None:
    assert resource_data(None, None, None) == {
        "found": None,
        "applied": None,
        "wanted": None,
        "step": None,
        "changes": [],
    }


def test_outputs_are_words_for_people_and_data_for_programs() -> None:
    outputs = {"b": ["x"], "name": "y"}
    assert outputs_text(outputs) == 'b    = ["x"]\nname = "y"\n'
    assert outputs_data(outputs) == {
        "b": {"value": ["x"], "sensitive": False},
        "name": {"value": "y", "sensitive": False},
    }
    assert (output_raw("y"), output_raw(["x"])) == ("y\n", '["x"]\n')


@pytest.mark.parametrize(
    ("tty", "environment", "no_color", "paint"),
    [
        (True, {}, False, COLOURED),
        (False, {}, False, PLAIN),
        (True, {"NO_COLOR": "1"}, False, PLAIN),
        (True, {"NO_COLOR": ""}, False, COLOURED),
        (False, {"FORCE_COLOR": "1"}, False, COLOURED),
        (True, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False, PLAIN),
        (False, {"FORCE_COLOR": "1"}, True, PLAIN),
        (True, {"TERM": "dumb"}, False, PLAIN),
    ],
)
def test_colour_is_chosen_by_flag_then_environment_then_terminal(
    tty: bool, environment: dict[str, str], no_color: bool, paint: Paint
) -> None:
    assert paint_for(tty, environment, no_color) == paint
