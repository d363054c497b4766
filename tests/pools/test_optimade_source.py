from __future__ import annotations

import json

import pytest
from json_server import ANSWERS, Answer, serve

from hts_flows.errors import InputError
from hts_flows.pools import PoolSource, read_pool, structure_from_text, web

INFO = {"/v1/info/structures": [Answer("optimade_info.json")]}
FILTER = 'elements HAS "Te" OR elements HAS "S" OR elements HAS "O"'


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(web, "FIRST_WAIT", 0.01)


def pages(*first):
    answers = [*first, *(Answer(f"optimade_page_{number}.json") for number in (1, 2, 3))]
    return INFO | {"/v1/structures": answers}


def test_all_pages_are_read_and_disordered_entries_are_named():
    with serve(pages()) as server:
        source = PoolSource(optimade=server.url, filter=FILTER, columns={"band_gap": "_exmpl_band_gap"})
        frame = read_pool(source)
    assert frame["name"].tolist() == ["exmpl/1", "exmpl/2", "exmpl/5"]
    assert frame["formula"].tolist() == ["TePb", "ZnS", "CdO"]
    assert frame["band_gap"].tolist() == [0.31, 3.72, 2.2]
    assert frame["n_atoms"].tolist() == [2, 2, 2]
    # a³/8 for a = 6.462 Å; density of PbTe: 4 · 334.8 u / a³
    assert frame["volume_per_atom"][0] == pytest.approx(6.462**3 / 8, rel=1e-5)
    assert frame["density"][0] == pytest.approx(8.24, abs=0.01)
    assert structure_from_text(frame["structure"][1]).get_space_group_info()[1] == 216
    assert [name for name, _ in frame.attrs["skipped"]] == ["exmpl/3", "exmpl/4"]
    assert all("disorder" in reason for _, reason in frame.attrs["skipped"])
    path, query, headers = server.asked[0]
    assert path == "/v1/structures"
    assert query["filter"] == FILTER
    assert query["response_format"] == "json"
    assert {"lattice_vectors", "species", "_exmpl_band_gap"} <= set(query["response_fields"].split(","))
    assert headers["user-agent"].startswith("hts_flows/")
    assert frame.attrs["origin"]["provider"] == "Example provider"


def test_a_limit_ends_the_reading_and_is_told():
    with serve(pages()) as server:
        frame = read_pool(PoolSource(optimade=f"{server.url}/v1/structures/", limit=1))
    assert frame["name"].tolist() == ["exmpl/1"]
    assert frame.attrs["origin"]["more_available"] is True
    assert server.paths().count("/v1/structures") == 1
    assert server.asked[0][1]["page_limit"] == "1"


@pytest.mark.parametrize(
    "trouble",
    [
        [Answer("busy", 429, {"Retry-After": "0"}), Answer("again", 503)],
        [Answer("optimade_page_1.json", cut=200)],
        [Answer("optimade_page_1.json", delay=1.0)],
    ],
    ids=["busy", "cut off", "slow"],
)
def test_trouble_that_passes_is_waited_for(trouble):
    with serve(pages(*trouble)) as server:
        frame = read_pool(PoolSource(optimade=server.url, timeout=0.5))
    assert len(frame) == 3
    assert server.paths().count("/v1/structures") == len(trouble) + 3


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer("down", 500), "500 Internal Server Error"),
        (Answer("{}", delay=1.0), "nothing came for 0.2 s"),
        (Answer("optimade_bad_filter.json", 400), "Unable to parse filter"),
        (Answer("<html>Welcome</html>"), "begins '<html>"),
        (Answer("[1, 2]"), "no JSON object"),
        (Answer('{"data": {"id": 1}}'), "no list 'data'"),
        (Answer('{"data": [1]}'), "no list 'data'"),
        (Answer("optimade_empty.json"), "no candidates"),
        (Answer('{"data": [], "meta": {"more_data_available": true}}'), "not whole"),
        (Answer('{"data": [], "links": {"next": "/v1/structures?again"}}'), "itself as the next page"),
    ],
)
def test_what_cannot_be_used_is_an_error_with_a_reason(answer, says):
    with serve(INFO | {"/v1/structures": [answer]}) as server, pytest.raises(InputError) as caught:
        read_pool(PoolSource(optimade=server.url, timeout=0.2))
    assert says in str(caught.value)
    assert caught.value.hint


def test_an_address_without_a_server_is_named():
    with serve({}) as server:
        address = server.url
    with pytest.raises(InputError, match=address):
        read_pool(PoolSource(optimade=address))


def test_a_provider_that_says_another_unit_is_refused():
    info = (ANSWERS / "optimade_info.json").read_text().replace('"angstrom"', '"nanometer"')
    with (
        serve(pages() | {"/v1/info/structures": [Answer(info)]}) as server,
        pytest.raises(InputError, match="'nanometer'"),
    ):
        read_pool(PoolSource(optimade=server.url))


def test_a_provider_that_says_no_unit_is_read():
    with serve({"/v1/structures": [Answer("optimade_page_3.json")]}) as server:
        assert len(read_pool(PoolSource(optimade=server.url))) == 1


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"lattice_vectors": [[0, 0.3, 0.3], [0.3, 0, 0.3], [0.3, 0.3, 0]]}, "not in Å"),
        ({"cartesian_site_positions": None}, "without cartesian_site_positions"),
        ({"dimension_types": [1, 1, 0]}, "not periodic"),
        ({"species_at_sites": ["Cd1", "nobody"]}, "nobody"),
        ({"cartesian_site_positions": [[0, 0, 0], [0, 0, 0.1]]}, "0.10 Å apart"),
    ],
)
def test_a_broken_entry_is_skipped_with_its_reason(change, says):
    page = json.loads((ANSWERS / "optimade_page_3.json").read_text())
    page["data"].append({**page["data"][0], "id": "broken", "attributes": page["data"][0]["attributes"] | change})
    with serve(INFO | {"/v1/structures": [Answer(json.dumps(page))]}) as server:
        frame = read_pool(PoolSource(optimade=server.url))
    assert len(frame) == 1
    ((name, reason),) = frame.attrs["skipped"]
    assert name == "broken"
    assert says in reason
