from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from hts_flows.slurm.cluster import Cluster
from hts_flows.slurm.resources import (
    Resources,
    format_memory,
    format_walltime,
    parse_memory,
    parse_walltime,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90min", 5400),
        ("2h", 7200),
        ("1d12h", 129_600),
        ("1d 2h 3min 4s", 93_784),
        ("01:30:00", 5400),
        ("1-12:00:00", 129_600),
        ("100:00:00", 360_000),
    ],
)
def test_times_are_read(text, seconds):
    assert parse_walltime(text) == seconds


@pytest.mark.parametrize("value", [90, 1.5, True, None, "", "90", "2 hours", "0h", "00:00:00", "-1h", "1:30", "h"])
def test_what_is_no_time_is_refused(value):
    with pytest.raises(ValueError, match=r"not a time|longer than no time"):
        parse_walltime(value)


@given(st.integers(min_value=1, max_value=400 * 86400))
def test_a_written_time_is_read_back(seconds):
    assert parse_walltime(format_walltime(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "megabytes"),
    [("800M", 800), ("8G", 8192), ("8 GB", 8192), ("8GiB", 8192), ("1.5T", 1_572_864), ("8g", 8192)],
)
def test_amounts_of_memory_are_read(text, megabytes):
    assert parse_memory(text) == megabytes


@pytest.mark.parametrize("value", [8, 8.0, True, None, "", "8", "8K", "lots", "0G", "-1G"])
def test_what_is_no_memory_is_refused(value):
    with pytest.raises(ValueError, match=r"not an amount|more than nothing"):
        parse_memory(value)


@given(st.integers(min_value=1, max_value=10**9))
def test_written_memory_is_read_back(megabytes):
    assert parse_memory(format_memory(megabytes)) == megabytes


def test_the_narrower_place_wins_and_lists_add_up():
    wide = Resources.model_validate({"walltime": "1h", "memory": "1G", "modules": ["gcc"], "requeue": True})
    narrow = Resources.model_validate({"walltime": "2h", "modules": ["vasp"], "requeue": False})
    both = wide.overridden_by(narrow)
    assert (both.walltime, both.memory, both.modules, both.requeue) == (7200, 1024, ["gcc", "vasp"], False)
    assert Resources.model_validate(both.stored()) == both


def test_a_job_asks_for_what_the_nearest_place_says():
    cluster = Cluster.model_validate(
        {
            "name": "c",
            "partition": "wide",
            "modules": ["gcc"],
            "resources": {
                "default": {"walltime": "2h", "partition": "standard"},
                "gpaw": {"tasks": 16, "modules": ["openmpi"], "pre_commands": ["ulimit -s unlimited"]},
            },
        }
    )
    other = cluster.resolve("vasp")
    assert (other.walltime, other.partition, other.tasks, other.modules) == (7200, "standard", 1, ["gcc"])
    gpaw = cluster.resolve("gpaw", {"walltime": "5h", "modules": ["libxc"]})
    assert (gpaw.walltime, gpaw.partition, gpaw.tasks) == (18_000, "standard", 16)
    assert gpaw.modules == ["gcc", "openmpi", "libxc"]
    assert gpaw.pre_commands == ["ulimit -s unlimited"]


def test_without_a_word_a_job_still_has_a_time_limit_that_the_cluster_allows():
    assert Cluster(name="c").resolve("gpaw").walltime == 4 * 3600
    short = Cluster.model_validate({"name": "c", "limits": {"max_walltime": "1h"}})
    assert short.resolve("gpaw").walltime == 3600


@pytest.mark.parametrize(
    "value", [{"nodes": 0}, {"gpus": -1}, {"partition": ""}, {"wall_time": "1h"}, {"walltime": 60}]
)
def test_what_no_job_can_ask_for_is_refused(value):
    with pytest.raises(ValidationError):
        Resources.model_validate(value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"nodes": 10**20}, "nodes"),
        ({"gpus": 10**30}, "gpus"),
        ({"memory": "9" * 400 + "G"}, "not an amount of memory"),
        ({"memory": "99999999T"}, "more than any machine has"),
        ({"walltime": "99999999999999d"}, "longer than ten years"),
        ({"partition": "x" * 100_000}, "at most 255"),
        ({"partition": "debug\n#SBATCH --uid=0"}, "one line"),
    ],
)
def test_what_no_cluster_has_is_refused_in_words(given, said):
    with pytest.raises(ValidationError, match=said):
        Resources.model_validate(given)
