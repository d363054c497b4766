from __future__ import annotations

import pytest
from small_campaign import CAMPAIGN


@pytest.fixture
def campaign(tmp_path):
    def write(intercalants="Li, K", more=""):
        (tmp_path / "small.yaml").write_text(CAMPAIGN.format(intercalants=intercalants) + more)

    return write
