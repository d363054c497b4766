"""A search as the package stores it: real campaign, real screener, real documents; only the values are made up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd

from hts_flows.campaign import Campaign
from hts_flows.launch.outcomes import Outcome
from hts_flows.screening import Screener
from hts_flows.stores.campaigns import save_campaign
from hts_flows.stores.rankings import LEFT_OUT_COLUMNS, TABLE_COLUMNS, Choice, Ranking, add_ranking

STATUSES = {"not asked": "not asked", "pending": "queued", "observed": "verified", "failed": "failed"}
START = datetime(2026, 1, 1, tzinfo=UTC)


class Search:
    """Candidates with descriptors and values, of which a screener asks for some after a training set.

    Parameters
    ----------
    identities
        Columns candidate_id, label, formula.
    x
        Descriptors by name, columns of the same length.
    values
        What an evaluation gives; NaN fails.
    hidden
        Further descriptors that are no plain columns.
    """

    def __init__(
        self, identities, x, values, *, training, hidden=None, campaign="search", settings_hash="hash", **more
    ):
        self.identities, self.x, self.truth = identities.reset_index(drop=True), x, np.asarray(values, dtype=float)
        self.training, self.campaign, self.settings_hash = list(training), campaign, settings_hash
        self.named = {"by": "thermal_conductivity", "unit": "W/(m K)"} | {
            key: more.pop(key) for key in ("by", "unit") if key in more
        }
        self.minimize = more.get("minimize", True)
        columns = np.column_stack([*x.values(), *([] if hidden is None else [hidden])])
        self.screener = Screener(columns, n_initial=1, **more)
        self.rankings: list[Ranking] = []
        self.tables: list[tuple[pd.DataFrame, pd.DataFrame]] = []

    def tell(self, ids):
        good = [one for one in ids if np.isfinite(self.truth[one])]
        self.screener.tell(good, self.truth[good], failed=[one for one in ids if one not in good])

    def train(self):
        choices = [self._choice(one, "training set") for one in self.training]
        ranking = self._ranking(asked=choices)
        self._keep(ranking, pd.DataFrame(columns=list(TABLE_COLUMNS)), pd.DataFrame(columns=list(LEFT_OUT_COLUMNS)))

    def rank(self, batch=1, **more):
        """One ranking, which asks for some; gives them."""
        table = self.screener.rank()
        open_ones = list(table.index[table["status"] == "not asked"])
        asked = self.screener.ask(batch) if batch else []
        choices = [
            self._choice(
                one,
                f"largest Z-score of {len(open_ones)}",
                rank=open_ones.index(one) + 1,
                mean=float(table.loc[one, "mean"]),
                standard_deviation=float(table.loc[one, "standard_deviation"]),
                z_score=float(table.loc[one, "z_score"]),
            )
            for one in asked
        ]
        best = self.screener.best
        fields = {
            "best_candidate": self._id(best[0]),
            "best_value": best[1],
            "n_observed": len(self.screener.observed),
            "n_failed": len(self.screener.failed),
            "provenance": {"screener": self.screener.describe()},
        }
        full = self.identities.loc[table.index].join(table)
        full["status"] = [STATUSES[one] for one in full["status"]]
        full["value"] = pd.Series(self.screener.observed, dtype=float).reindex(full.index)
        for name, column in self.x.items():
            full[f"x_{name}"] = np.asarray(column)[full.index]
        left_out = self.identities[["candidate_id", "label"]].join(self.screener.leave_one_out(), how="inner")
        self._keep(self._ranking(asked=choices, **fields | more), full, left_out[list(LEFT_OUT_COLUMNS)])
        return asked

    def run(self, rounds, batch=1):
        self.train()
        self.tell(self.training)
        for _ in range(rounds):
            self.tell(self.rank(batch))

    def outcomes(self):
        """What came out of all that was asked for, by candidate_id."""
        found = {}
        for one in {choice.candidate_id for ranking in self.rankings for choice in ranking.asked}:
            number = self.number(one)
            value = self.truth[number]
            if number in self.screener.pending:
                found[one] = Outcome("queued")
            else:
                found[one] = Outcome("verified", value) if np.isfinite(value) else Outcome("failed", cause="walltime")
        return found

    def number(self, candidate_id):
        return list(self.identities["candidate_id"]).index(candidate_id)

    def store(self, database):
        """Write the rankings, and results of what was asked for: done, failed, or queued where still pending."""
        for ranking, tables in zip(self.rankings, self.tables, strict=True):
            assert add_ranking(database, ranking, *tables)
        documents = []
        for one, outcome in self.outcomes().items():
            number = self.number(one)
            documents.append(
                {
                    "_id": f"{one}:{self.settings_hash}",
                    "candidate_id": one,
                    "label": self.identities["label"][number],
                    "formula": self.identities["formula"][number],
                    "role": "candidate",
                    "campaigns": [self.campaign],
                    "settings_hash": self.settings_hash,
                    "state": {"verified": "done"}.get(outcome.state, outcome.state),
                    "properties": {self.named["by"]: outcome.value} if outcome.state == "verified" else None,
                    "failure": {"cause": outcome.cause} if outcome.cause else None,
                }
            )
        database.results.insert_many(documents)

    def _id(self, number):
        return str(self.identities["candidate_id"][number])

    def _choice(self, number, why, **fields):
        return Choice(candidate_id=self._id(number), label=str(self.identities["label"][number]), why=why, **fields)

    def _ranking(self, **fields):
        number = len(self.rankings)
        return Ranking(
            campaign=self.campaign,
            settings_hash=self.settings_hash,
            number=number,
            created_at=START + timedelta(minutes=number),
            minimize=self.minimize,
            outcomes="0" * 64,
            n_candidates=len(self.identities),
            **self.named | fields,
        )

    def _keep(self, ranking, table, left_out):
        self.rankings.append(ranking)
        self.tables.append((table.reset_index(drop=True), left_out.reset_index(drop=True)))


def synthetic(n=60, *, seed=0, failing=0, training=8, **more):
    """A search over made-up binary compounds, with two plain descriptors; low values at low density."""
    random = np.random.default_rng(seed)
    symbols = ["Li", "Na", "K", "Mg", "Ca", "Zn", "Ga", "In", "O", "S", "Se", "Te", "F", "Cl", "Br", "I"]
    pairs = [(one, other) for one in symbols[:8] for other in symbols[8:]]
    formulas = [f"{one}{other}{'' if number < 64 else 2 + number // 64}" for number in range(n)
                for one, other in [pairs[number % 64]]]  # fmt: skip
    identities = pd.DataFrame(
        {
            "candidate_id": [f"compounds-{number:012x}" for number in range(n)],
            "label": [f"{formula} rocksalt" for formula in formulas],
            "formula": formulas,
        }
    )
    volume, density = random.gamma(9, 2.2, n), random.gamma(8, 0.6, n)
    values = np.exp(0.05 * volume - 0.3 * density + 0.1 * random.normal(size=n)) * 3
    values[random.choice(n, failing, replace=False)] = np.nan
    first = random.choice(n, training, replace=False)
    return Search(identities, {"volume_per_atom": volume, "density": density}, values, training=first, **more)


CAMPAIGN = {
    "name": "search",
    "candidates": {
        "domain": "intercalation",
        "hosts": ["graphite"],
        "intercalants": "all",
        "concentrations": ["1/8", "1/6"],
    },
    "calculate": [
        {
            "engine": "sevennet",
            "screen": {
                "by": "intercalation_energy",
                "descriptors": ["density", "elements"],
                "train_on": {"stage": [1]},
                "stop": {"budget": 20},
            },
        }
    ],
}


def intercalation_search(database, **screen):
    """A stored campaign with a screen row, and a search over its candidates that is not stored yet."""
    (row,) = CAMPAIGN["calculate"]
    campaign = Campaign.from_dict(CAMPAIGN | {"calculate": [row | {"screen": row["screen"] | screen}]})
    save_campaign(database, campaign)
    candidates = campaign.all_candidates()
    identities = pd.DataFrame(
        {
            "candidate_id": [candidate.candidate_id for candidate in candidates],
            "label": [candidate.label for candidate in candidates],
            "formula": [candidate.formula for candidate in candidates],
        }
    )
    random = np.random.default_rng(1)
    density, radius = random.normal(3, 1, len(candidates)), random.normal(2, 0.5, len(candidates))
    values = (density - 2) ** 2 - radius
    values[:3] = np.nan
    search = Search(
        identities,
        {"density": density, "radius": radius},
        values,
        training=range(1, 9),
        settings_hash=campaign.ladder()[0].settings_hash,
        by="intercalation_energy",
        unit="eV/M",
        transform="none",
    )
    return campaign.ladder()[0], search
