from __future__ import annotations

import pytest
from pydantic import ValidationError

from hts_flows.pools import PoolSource


@pytest.mark.parametrize(
    ("content", "title"),
    [
        ({"file": "data/my pool.csv.gz"}, "my_pool"),
        ({"file": "../structures/"}, "structures"),
        ({"file": "été.json"}, "t"),
        ({"file": ".."}, "pool"),
        ({"optimade": "https://provider.example.org:8080/optimade"}, "provider.example.org"),
        ({"materials_project": {"chemsys": "Pb-Te"}}, "materials_project"),
        ({"file": "a.csv", "name": "mine"}, "mine"),
    ],
)
def test_a_pool_is_named_after_its_source(content, title):
    source = PoolSource.model_validate(content)
    assert source.title == title
    assert PoolSource.model_validate(source.model_dump(mode="json")) == source
    assert PoolSource.model_validate(source.model_dump(mode="json", exclude_defaults=True)) == source


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({}, "exactly one of file, optimade, materials_project; found none"),
        ({"file": "a.csv", "optimade": "https://example.org"}, "found file and optimade"),
        ({"file": "a.csv", "filter": "nelements=2"}, "'filter' and 'limit' belong to 'optimade'"),
        ({"materials_project": {"elements": ["Te"]}, "limit": 5}, "among its own keys"),
        ({"materials_project": {"elements": ["Te"]}, "columns": {"a": "b"}}, "'columns' belongs to"),
        ({"materials_project": {}}, "at least one condition"),
        ({"materials_project": {"limit": 5}}, "at least one condition"),
        ({"materials_project": {"elements": ["Xx"]}}, "Xx"),
        ({"materials_project": {"band_gap": [1.0, 0.1]}}, "lowest and the highest"),
        ({"materials_project": {"band_gap": [None, None]}}, "lowest and the highest"),
        ({"materials_project": {"band_gap": 0.5}}, "lowest and the highest"),
        ({"materials_project": {"nelements": True}}, "lowest and the highest"),
        ({"optimade": "file:///etc/passwd"}, "https://"),
        ({"optimade": "https://me:secret@example.org"}, "base URL alone"),
        ({"optimade": "https://example.org/structures?filter=a"}, "base URL alone"),
        ({"optimade": "https://[example.org"}, "IPv6"),
        ({"optimade": "https://example.org", "limit": 0}, "greater than or equal to 1"),
        ({"file": "a.csv", "colums": {}}, "Extra inputs"),
        ({"file": "a.csv", "name": "../up"}, "pattern"),
    ],
)
def test_a_source_that_cannot_be_meant_is_refused(content, says):
    with pytest.raises(ValidationError, match=says):
        PoolSource.model_validate(content)
