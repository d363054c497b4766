"""The API against its own OpenAPI document, with requests that nobody would think of."""

from __future__ import annotations

from collections import Counter

import pytest
import schemathesis
from failed_results import fail, submitted
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import CHECKS, load_all_checks, not_a_server_error

from hts_flows.launch.failures import FailureCause
from hts_flows.launch.resubmission import plan_resubmission, resubmit

load_all_checks()
WANTED = [
    not_a_server_error,
    *CHECKS.get_by_names(["status_code_conformance", "content_type_conformance", "response_schema_conformance"]),
]
#: Requests to each route.
EXAMPLES = 15


@pytest.fixture
def client(site):
    """An operator; the limits of wrong logins do not concern the API."""
    return site.client()


@pytest.fixture
def known(database):
    """What is stored, by the name of the parameter that may name it."""
    keys = submitted(database)
    for key in list(keys.values())[2:5]:
        fail(database, key, FailureCause.WALLTIME)
    done = resubmit(database, plan_resubmission(database, ids=[list(keys)[2]]), user="anna")
    candidates = [key.partition(":")[0] for key in keys.values()]
    return {
        "campaign": ["small"],
        "name": ["small"],
        "candidate": candidates,
        "candidate_id": candidates,
        "fw_id": ["1", "7", "8"],
        "audit": [done.audit],
        "cause": ["walltime"],
        "action": ["pause", "resume", "cancel", "priority"],
    }


@pytest.fixture
def api(site, client, known):
    """The document, with addresses that name what is stored in every second request."""
    document = schemathesis.openapi.from_dict(site.get(client, "api/openapi.json").json())
    document.config.update(base_url=site.address.rstrip("/"))

    @document.hook
    def map_path_parameters(context, path_parameters):
        del context
        if not path_parameters or sum(map(len, map(str, path_parameters.values()))) % 2:
            return path_parameters
        return {
            name: known[name][len(str(value)) % len(known[name])] if name in known else value
            for name, value in path_parameters.items()
        }

    return document


def test_every_answer_is_one_that_the_document_has(api, client):
    operations = [found.ok() for found in api.get_all_operations()]
    assert len(operations) > 15
    statuses = Counter()
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        def ask(case):
            answer = case.call(session=client)
            statuses[answer.status_code] += 1
            case.validate_response(answer, checks=WANTED)

        ask()
    # Not only refusals were looked at.
    assert statuses[200] > 50
    assert {404, 422} <= statuses.keys()


def test_the_document_says_what_can_be_asked(site, client):
    document = site.get(client, "api/openapi.json").json()
    for path in ("/api/overview", "/api/jobs", "/api/failures", "/api/audit", "/api/resubmissions/plan"):
        assert path in document["paths"]
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            assert route.get("description") or route.get("summary"), (method, path)
            assert {"401", "422", "503"} <= route["responses"].keys(), (method, path)
            if method != "get":
                assert {"403", "409"} <= route["responses"].keys(), (method, path)
