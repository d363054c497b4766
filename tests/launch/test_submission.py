from __future__ import annotations

from hts_flows.campaign import Campaign
from hts_flows.launch.advance import advance, check_here
from hts_flows.launch.submission import pool_of
from hts_flows.stores.campaigns import save_campaign

CONTENT = {
    "name": "asking",
    "candidates": {
        "domain": "intercalation",
        "hosts": ["graphite"],
        "intercalants": ["Li"],
        "concentrations": ["1/6"],
    },
}


def stored(database, resources):
    row = {"engine": "sevennet", "task": "static", "resources": resources}
    save_campaign(database, Campaign.from_dict(CONTENT | {"calculate": [row]}), update=True)
    advance(database, "asking", check=check_here)
    jobs = list(database.mongo["fireworks"].find({}, {"state": 1, "spec.hts": 1}))
    return {job["_id"]: (job["spec"]["hts"]["resources"], job["spec"]["hts"]["pool"]) for job in jobs}


def test_a_changed_file_changes_what_queued_jobs_ask_for(database):
    small, large = {"memory": "2G"}, {"memory": "4G", "walltime": "02:00:00"}
    before = stored(database, small)
    assert all(value == (small, pool_of("sevennet", small)) for value in before.values())
    taken = database.mongo["fireworks"].find_one_and_update({"state": "READY"}, {"$set": {"state": "RUNNING"}})
    after = stored(database, large)
    assert after.keys() == before.keys()
    assert after.pop(taken["_id"])[0] == small
    assert all(value == (large, pool_of("sevennet", large)) for value in after.values())
    assert all(result["resources"] == large for result in database.results.find({}))
