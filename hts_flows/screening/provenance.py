"""What a ranking came from."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from hts_flows import __version__

if TYPE_CHECKING:
    from hts_flows.screening.ledger import Ledger
    from hts_flows.screening.model import Model
    from hts_flows.screening.options import Options
    from hts_flows.screening.pool import Pool

#: Packages whose numbers these are.
PACKAGES = ("numpy", "scipy", "pandas")


def describe(options: Options, pool: Pool, ledger: Ledger, model: Model | None) -> dict[str, Any]:
    """Model, hyper-parameters, transform, seed, training data and package versions; compatible with JSON.

    Parameters
    ----------
    options, pool, ledger
        Of the screener.
    model
        Fitted to the observations; None where there are none.
    """
    names = pool.source.names
    result: dict[str, Any] = {
        "model": "Gaussian process, radial basis function, exact",
        "options": options.to_dict(),
        "n_candidates": pool.n_candidates,
        "descriptors": list(names),
        "constant_descriptors": [names[column] for column in np.flatnonzero(pool.scaling.constant)],
        "descriptors_sha256": pool.digest(),
        "prior_mean": pool.prior_mean is not None,
        "n_observed": len(ledger.results),
        "n_failed": len(ledger.failed),
        "n_pending": len(ledger.pending),
        "training_sha256": ledger.digest(),
        "versions": {"hts_flows": __version__, **{name: version(name) for name in PACKAGES}},
        "fitted": None,
    }
    if model is not None:
        result["fitted"] = {
            "transform": model.scale.transform,
            "value_mean": model.scale.mean,
            "value_deviation": model.scale.deviation,
            "best": float(model.scale.original(np.array(model.best))),
            "length_scales": list(model.hyperparameters.length_scales),
            "noise": model.hyperparameters.noise,
            "signal_variance": model.hyperparameters.signal_variance,
        }
    return result
