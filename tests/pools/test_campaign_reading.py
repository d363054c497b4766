"""Reading a campaign file reads none of its pools."""

import pytest

from hts_flows.campaign import load_campaign_file
from hts_flows.errors import InputError

CAMPAIGN = """\
name: pooled
candidates:
  domain: compounds
  pools: [{{file: missing.csv}}]
calculate:
  - engine: {engine}
"""


@pytest.mark.parametrize("engine", ["sevennet", "phono3py"])
def test_pools_are_left_alone_where_an_engine_takes_every_composition(engine, tmp_path):
    file = tmp_path / "pooled.yaml"
    file.write_text(CAMPAIGN.format(engine=engine))
    campaign = load_campaign_file(file)
    with pytest.raises(InputError, match=r"missing\.csv"):
        campaign.all_candidates()
