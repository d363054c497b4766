from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hts_flows.candidates import Candidate
from hts_flows.errors import InputError
from hts_flows.launch.failures import FailureCause, failure
from hts_flows.launch.resource_edits import edited_resources, read_amount, read_resource_edits, shrinking
from hts_flows.launch.setting_edits import edited_settings, read_edits
from hts_flows.slurm.cluster import Cluster
from hts_flows.slurm.resources import Resources, format_memory, format_walltime, parse_memory, parse_walltime
from hts_flows.stores.results import JobUsage, Result

SECONDS = st.integers(1, 60 * 86400)
MEGABYTES = st.integers(1, 4 * 1024**2)
FACTORS = st.integers(1, 2000).map(lambda number: number / 20)
BIG = Cluster.model_validate(
    {"name": "big", "limits": {"max_walltime": "24h"}, "resources": {"gpaw": {"walltime": "3h"}}}
)
OTHER = Cluster.model_validate({"name": "other"})


def result_of(engine="gpaw", resources=None, **job):
    usage = JobUsage.model_validate(job) if job else None
    return Result(
        candidate_id="x-1",
        candidate=Candidate(domain="bulk", label="x", formula="X", inputs={}),
        label="x",
        formula="X",
        engine=engine,
        settings={},
        settings_hash="h",
        state="failed",
        resources=resources or {},
        failure=failure(FailureCause.WALLTIME, "too long", job=usage),
    )


@given(SECONDS, FACTORS)
def test_a_factor_multiplies_and_rounds_up_to_what_can_be_written(seconds, factor):
    new = read_amount("walltime", f"x{factor}").applied(seconds)
    assert new >= 1
    assert seconds * factor - 1e-3 <= new < seconds * factor + 1 or new == 1
    assert parse_walltime(format_walltime(new)) == new


@given(MEGABYTES, MEGABYTES)
def test_an_addition_adds_and_an_amount_is_taken_as_it_is(base, more):
    text = format_memory(more)
    assert read_amount("memory", f"+{text}").applied(base) == base + more
    assert read_amount("memory", f" {text} ").applied(base) == more
    assert parse_memory(format_memory(base + more)) == base + more


@given(st.one_of(st.text(max_size=12), st.integers(), st.none(), st.floats(), st.booleans(), st.lists(st.text())))
def test_anything_else_is_refused_and_never_understood_otherwise(value):
    for quantity in ("walltime", "memory"):
        # Hypothesis hardly finds a text that is one; where it does, the text has a unit or a factor.
        if isinstance(value, str) and any(sign in value for sign in "xX×hdmsMGT:"):
            continue
        with pytest.raises(ValueError, match=r"write e\.g\.|more than nothing"):
            read_amount(quantity, value)


@pytest.mark.parametrize("value", ["x0", "x", "x-2", "xinf", "x2000", "2", "-1h", "+", "1.5h", "4 hours", "0h", "x2x2"])
def test_what_looks_like_a_walltime_and_is_none(value):
    with pytest.raises(InputError, match=r"--walltime"):
        read_resource_edits({"walltime": value})


def test_the_base_of_a_factor_is_the_job_then_the_result_then_the_cluster():
    edits = read_resource_edits({"walltime": "x2"})
    job = result_of(resources={"walltime": "05:00:00"}, cluster="big", walltime_asked=7200.0)
    assert edited_resources(job, edits, {})[0]["walltime"] == "04:00:00"
    own = result_of(resources={"walltime": "05:00:00"}, cluster="big")
    assert edited_resources(own, edits, {})[0]["walltime"] == "10:00:00"
    assert edited_resources(result_of(), edits, {"big": BIG})[0]["walltime"] == "06:00:00"
    named = result_of(cluster="big")
    assert edited_resources(named, edits, {"big": BIG, "other": OTHER})[0]["walltime"] == "06:00:00"
    for clusters in ({}, {"big": BIG, "other": OTHER}):
        with pytest.raises(InputError, match="not known how much walltime") as told:
            edited_resources(result_of(), edits, clusters)
        assert "--walltime 8h" in told.value.hint


def test_no_memory_to_multiply_is_said_and_an_amount_helps():
    with pytest.raises(InputError, match="not known how much memory"):
        edited_resources(result_of(), read_resource_edits({"memory": "+4G"}), {"big": BIG})
    new, changes = edited_resources(result_of(), read_resource_edits({"memory": "8G"}), {"big": BIG})
    assert (new, changes) == ({"memory": "8G"}, {"memory": (None, "8G")})


def test_more_than_the_cluster_allows_is_refused_with_both_numbers():
    edits = read_resource_edits({"walltime": "x2"})
    too_long = result_of(cluster="big", walltime_asked=13 * 3600.0)
    with pytest.raises(InputError) as told:
        edited_resources(too_long, edits, {"big": BIG})
    assert "1-02:00:00" in told.value.message
    assert "clusters.big.limits.max_walltime, 1-00:00:00" in told.value.message
    # Another cluster has no limit, and the job may go there.
    anywhere = result_of(resources={"walltime": "13:00:00"})
    assert edited_resources(anywhere, edits, {"big": BIG, "other": OTHER})[0]["walltime"] == "1-02:00:00"


def test_all_else_is_set_kept_or_taken_away():
    before = {"partition": "low", "modules": ["gcc"], "memory": "4G"}
    options = read_resource_edits({"partition": None, "modules": ["vasp/6"], "tasks": 8, "qos": "long"})
    new, changes = edited_resources(result_of(resources=before), options, {})
    assert new == {"modules": ["vasp/6"], "memory": "4G", "tasks": 8, "qos": "long"}
    assert changes["partition"] == ("low", None)
    assert Resources.model_validate(new).stored() == new


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        ({"walltme": "x2"}, "did you mean 'walltime'"),
        ({"nodes": 0}, "--nodes 0: must be greater than or equal to 1"),
        ({"modules": "vasp"}, "--set resources.modules=vasp"),
        ({"partition": ""}, "--partition"),
        ({"gpus": "many"}, "--gpus many"),
    ],
)
def test_resources_that_cannot_be_are_refused(edit, expected):
    with pytest.raises(InputError) as told:
        read_resource_edits(edit)
    assert expected in told.value.message


def test_less_than_before_is_noticed():
    job = result_of(walltime_asked=7200.0, memory_asked=4096.0)
    _, changes = edited_resources(job, read_resource_edits({"walltime": "x0.5", "memory": "x1"}), {})
    assert shrinking(changes) == ["walltime"]


def test_edits_are_read_with_yaml_and_with_the_names_of_makers():
    settings, resources = read_edits(
        ["relax_maker.steps=1000", "symmetry=false", "resources.modules=[vasp/6]", "resources.walltime=02:00:00"]
    )
    assert settings == {"steps": 1000, "symmetry": False}
    assert resources == {"modules": ["vasp/6"], "walltime": "02:00:00"}


@pytest.mark.parametrize(
    ("edits", "expected"),
    [
        (["steps"], "expected NAME=VALUE"),
        (["=4"], "expected NAME=VALUE"),
        (["steps=1", "relax_maker.steps=2"], "given twice"),
        (["relax.steps=2"], "'relax' has no settings"),
        (["steps=[1"], "not valid YAML"),
    ],
)
def test_edits_that_cannot_be_read_are_refused(edits, expected):
    with pytest.raises(InputError) as told:
        read_edits(edits)
    assert expected in told.value.message


def test_settings_are_checked_as_in_a_campaign_file():
    from hts_flows.engines import engine_class

    gpaw = engine_class("gpaw")().resolved(layered=True).model_dump(mode="json")
    assert edited_settings(gpaw, {"scf_steps": 400}) == gpaw | {"scf_steps": 400}
    for name, value in {"scf_steps": 0, "cutoff": 500, "stepps": 3}.items():
        with pytest.raises(InputError, match=f"--set {name}"):
            edited_settings(gpaw, {name: value})
