from __future__ import annotations

import pytest
from json_server import Answer, serve

from hts_flows.errors import InputError
from hts_flows.pools import PoolSource, frame_to_parquet, read_pool, web

KEY = "k3y" * 10 + "zz"
PATH = "/materials/summary/"
QUERY = {
    "elements": ["Te"],
    "exclude_elements": ["Hg", "Tl"],
    "chemsys": ["Pb-Te", "Zn-S"],
    "nelements": 2,
    "num_sites": [2, 8],
    "band_gap": [0.1, 1.0],
    "energy_above_hull": [None, 0.05],
    "theoretical": False,
}


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(web, "FIRST_WAIT", 0.01)
    monkeypatch.setenv("MP_API_KEY", KEY)


@pytest.fixture
def ask(monkeypatch):
    def ask(server, **query):
        monkeypatch.setenv("MP_API_ENDPOINT", server.url)
        return read_pool(PoolSource(materials_project=query or {"elements": ["Te"]}, timeout=0.5))

    return ask


def test_pages_are_put_together_and_the_key_stays_out_of_the_frame(ask):
    with serve({PATH: [Answer("mp_page_1.json"), Answer("busy", 429), Answer("mp_page_2.json")]}) as server:
        frame = ask(server, **QUERY)
    assert frame["name"].tolist() == ["mp-19717", "mp-10695", "mp-1132"]
    assert frame["band_gap"].tolist() == [0.8128, 2.0205, 0.0]
    assert frame["energy_above_hull"].tolist() == [0, 0, 0]
    assert frame["theoretical"].tolist() == [0, 0, 0]
    assert frame["volume"][0] == pytest.approx(2 * frame["volume_per_atom"][0], rel=1e-6)
    first, busy, again = (query for _, query, _ in server.asked)
    assert first["exclude_elements"] == "Hg,Tl"
    assert first["chemsys"] == "Pb-Te,Zn-S"
    assert (first["nelements_min"], first["nelements_max"]) == ("2", "2")
    assert (first["nsites_min"], first["nsites_max"]) == ("2", "8")
    assert (first["band_gap_min"], first["band_gap_max"]) == ("0.1", "1.0")
    assert "energy_above_hull_min" not in first
    assert first["theoretical"] == "false"
    assert (first["_skip"], busy["_skip"], again["_skip"]) == ("0", "2", "2")
    assert {headers["x-api-key"] for _, _, headers in server.asked} == {KEY}
    assert KEY not in str(frame.attrs)
    assert KEY.encode() not in frame_to_parquet(frame)


def test_the_limit_is_kept_and_told(ask):
    with serve({PATH: [Answer("mp_page_1.json")]}) as server:
        frame = ask(server, elements=["Te"], limit=1)
    assert len(frame) == 1
    assert server.asked[0][1]["_limit"] == "1"
    assert frame.attrs["origin"]["more_available"] is True


def test_without_a_key_nothing_is_asked(ask, monkeypatch):
    monkeypatch.delenv("MP_API_KEY")
    with serve({}) as server, pytest.raises(InputError, match="MP_API_KEY is not set"):
        ask(server)
    assert not server.asked


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Answer('{"detail": "Invalid authentication credentials"}', 401), "Invalid authentication"),
        (Answer('{"detail": "no such parameter"}', 400), "no such parameter"),
        (Answer("down", 502), "502 Bad Gateway"),
        (Answer("mp_page_1.json", delay=1.0), "nothing came for 0.5 s"),
        (Answer('{"data": [{}]}'), "meta.total_doc"),
        (Answer("not JSON"), "begins 'not JSON'"),
        (Answer("mp_empty.json"), "no candidates"),
        (Answer('{"data": [], "meta": {"total_doc": 3}}'), "not whole"),
    ],
)
def test_what_cannot_be_used_is_an_error_without_the_key_in_it(ask, answer, says):
    with serve({PATH: [answer]}) as server, pytest.raises(InputError) as caught:
        ask(server)
    assert says in str(caught.value)
    assert KEY not in str(caught.value)


def test_the_key_does_not_follow_a_redirect(ask):
    with serve({"/elsewhere": [Answer("mp_page_2.json")]}) as server:
        server.answers[PATH] = [Answer("", 302, {"Location": "{base}/elsewhere"})]
        with pytest.raises(InputError, match="sends requests on"):
            ask(server)
    assert server.paths() == [PATH]
