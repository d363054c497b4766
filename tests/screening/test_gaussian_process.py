import numpy as np
import pytest
from problems import valley
from scipy.optimize import approx_fprime
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF

from hts_flows.screening.acquisition import expected_improvement, log_acquisition, log_normal_improvement
from hts_flows.screening.gaussian_process import GaussianProcess
from hts_flows.screening.hyperparameters import Given, _Density, fit_hyperparameters
from hts_flows.screening.prediction import Predictor
from hts_flows.screening.values import choose_transform

RNG = np.random.default_rng(7)
ZEROS = np.zeros(60)


def _process(x, y, trend=None, noise=0.01, signal=1.0):
    trend = np.zeros(len(y)) if trend is None else trend
    return GaussianProcess.fit(x, y, trend, noise=noise, signal_variance=signal)


def test_predictions_are_those_of_scikit_learn():
    x, y = valley(60)
    peer = GaussianProcessRegressor(RBF(0.5), alpha=0.01, optimizer=None).fit(x[:40], y[:40])
    mean, deviation = _process(x[:40] / 0.5, y[:40]).predict(x[40:] / 0.5, ZEROS[:20])
    expected = peer.predict(x[40:], return_std=True)
    np.testing.assert_allclose(mean, expected[0], rtol=1e-9)
    np.testing.assert_allclose(deviation, expected[1], rtol=1e-7)


def test_extending_the_factor_is_conditioning_on_all_at_once():
    x, y = valley(60)
    trend = RNG.normal(size=60)
    whole = _process(x, y, trend)
    grown = _process(x[:40], y[:40], trend[:40]).extended(x[40:], y[40:], trend[40:])
    np.testing.assert_allclose(grown.factor, whole.factor, atol=1e-10)
    np.testing.assert_allclose(grown.weights, whole.weights, rtol=1e-6)


def test_leave_one_out_is_leaving_one_out():
    x, y = valley(30)
    mean, deviation = _process(x, y, signal=2.0).leave_one_out()
    for left in (0, 13, 29):
        rest = np.delete(np.arange(30), left)
        one_mean, one_deviation = _process(x[rest], y[rest], signal=2.0).predict(x[[left]], ZEROS[:1])
        assert mean[left] == pytest.approx(one_mean[0], rel=1e-7)
        assert deviation[left] ** 2 == pytest.approx(one_deviation[0] ** 2 + 2.0 * 0.01, rel=1e-7)


def test_trend_is_a_line_with_an_integrated_slope():
    # Bayesian linear regression by hand: with points so far apart that nothing else correlates, the slope's posterior
    # mean is tᵀy / (1 + noise) / (1 + tᵀt / (1 + noise)).
    trend = np.array([-1.0, 0.0, 2.0])
    process = _process(np.arange(3.0)[:, None] * 1e3, np.array([-2.0, 0.5, 4.0]), trend)
    slope = (2.0 + 8.0) / 1.01 / (1 + 5.0 / 1.01)
    mean, _ = process.predict(np.array([[1e5]]), np.array([3.0]))
    assert mean[0] == pytest.approx(3.0 * slope)


@pytest.mark.parametrize("fixed_signal", [None, 0.7])
def test_gradient_of_the_posterior_density(fixed_signal):
    x, y = valley(25)
    density = _Density(x, y - y.mean(), RNG.normal(size=25) * 0.1, [np.array([0, 1]), np.array([2])], 3)
    logs = np.array([0.3, -0.4, -3.0])
    numeric = approx_fprime(logs, lambda some: density(some, fixed_signal)[0], 1e-6)
    np.testing.assert_allclose(density(logs, fixed_signal)[1], numeric, rtol=1e-3, atol=1e-4)


def test_fitted_hyperparameters_recover_what_made_the_data():
    x = np.random.default_rng(0).normal(size=(250, 2))
    process = _process(x / 0.8, ZEROS[:1].repeat(250), noise=0.01)
    y = process.factor @ np.random.default_rng(1).normal(size=250)
    found = fit_hyperparameters(x, y, np.zeros(250), [np.arange(2)], Given(None, None, None))
    assert found.length_scales[0] == pytest.approx(0.8, rel=0.15)
    assert found.noise == pytest.approx(0.01, rel=0.7)


def test_five_observations_do_not_overfit():
    x, y = valley(5)
    found = fit_hyperparameters(x, RNG.permutation(y) - y.mean(), np.zeros(5), [np.arange(3)], Given(None, None, None))
    assert 0.3 < found.length_scales[0] < 500
    assert 1e-4 < found.noise < 1


@pytest.mark.parametrize("trended", [False, True])
@pytest.mark.parametrize(
    ("shape", "noise", "tolerance", "method"),
    [
        ((3, 4.0), 0.01, 0.02, "low rank"),
        ((20, 10.0), 0.05, 0.02, "low rank"),
        ((10, 1.0), 0.05, 1e-3, "single precision"),
        ((3, 0.5), 1e-7, 1e-3, "exact"),
        ((3, 4.0), 0.01, 0.0, "exact"),
    ],
)
def test_fast_predictions_are_nearly_the_exact_ones(shape, noise, tolerance, method, trended):
    width, scale = shape
    rng = np.random.default_rng(2)
    x = rng.normal(size=(20_000, width)) / scale
    trend = rng.normal(size=20_000) * trended
    process = _process(x[:200], np.sin(x[:200]).sum(axis=1), trend[:200], noise=noise)
    predictor = Predictor(process, 20_000, (x, trend), tolerance)
    assert predictor.method == method
    mean, deviation = predictor.predict(x, trend)
    exact = process.predict(x, trend)
    # The tolerance holds on a sample of 512; far out it may be exceeded.
    for error in (np.abs(mean - exact[0]) / exact[1], np.abs(deviation / exact[1] - 1)):
        assert np.quantile(error, 0.99) < max(tolerance, 1e-9)
        assert error.max() < max(3 * tolerance, 1e-9)


def test_expected_improvement_against_sampling_and_far_away():
    draws = RNG.normal(0.3, 0.5, size=400_000)
    one = np.array([0.3]), np.array([0.5])
    assert expected_improvement(*one, 0.1)[0] == pytest.approx(np.maximum(0.1 - draws, 0).mean(), rel=0.02)
    for minimize, sign in ((True, 1), (False, -1)):
        sampled = np.maximum(sign * (1.2 - np.exp(draws)), 0).mean()
        assert log_normal_improvement(*one, 1.2, minimize=minimize)[0] == pytest.approx(sampled, rel=0.02)
    means = np.array([-3.0, 0.0, 2.0, 50.0, 3e4])
    for name in ("expected_improvement", "z_score", "ucb"):
        score = log_acquisition(name, means, np.ones(5), 0.0, 2.0)
        assert np.all(np.isfinite(score))
        assert np.all(np.diff(score) < 0)


def test_transform_is_chosen_by_likelihood():
    draws = np.random.default_rng(3).normal(size=40)
    assert choose_transform(np.exp(draws)) == "log"
    assert choose_transform(draws + 5) == "none"
    assert choose_transform(draws) == "none"
