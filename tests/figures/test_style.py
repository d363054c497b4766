"""Colours, text and files of figures."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from hts_flows.errors import InputError
from hts_flows.figures import save
from hts_flows.figures.drawing import energy_text
from hts_flows.figures.style import category_colours, energy_norm, fraction_text, new_figure, text_colour


@pytest.mark.parametrize(("suffix", "magic"), [(".png", b"\x89PNG"), (".pdf", b"%PDF"), (".svg", b"<?xml")])
def test_figures_are_saved_in_the_format_of_the_suffix(tmp_path, suffix, magic):
    figure = new_figure(2, 1)
    figure.subplots().plot([0, 1])
    path = save(figure, tmp_path / "new" / f"picture{suffix}")
    assert path.read_bytes().startswith(magic)


@pytest.mark.parametrize("name", ["picture.jpg", "picture"])
def test_another_suffix_is_refused_with_the_allowed_ones(tmp_path, name):
    with pytest.raises(InputError, match=r"\.pdf, \.png, \.svg"):
        save(Figure(), tmp_path / name)
    assert not (tmp_path / name).exists()


def test_zero_energy_is_in_the_middle_of_the_scale_whatever_the_values():
    for values in ([-3.0, 0.1], [0.2, 0.5], [np.nan], [0.0]):
        norm = energy_norm(values)
        assert norm(0.0) == pytest.approx(0.5)
        assert norm.vmax == -norm.vmin > 0


def test_one_outlier_does_not_stretch_the_scale():
    assert energy_norm([*np.linspace(-1, 1, 99), 100.0]).vmax < 1.01


def test_category_colours_are_all_different():
    for number in (1, 7, 8, 20):
        assert len({str(colour) for colour in category_colours(number)}) == number


def test_text_is_readable_on_dark_and_on_light():
    assert text_colour((0.02, 0.19, 0.38, 1)) == "white"
    assert text_colour((0.97, 0.97, 0.97, 1)) == "black"


def test_concentrations_are_written_as_fractions_where_simple():
    assert [fraction_text(value) for value in (1 / 6, 0.25, 1.0, 2 / 3)] == ["1/6", "1/4", "1", "2/3"]
    assert fraction_text(0.17321) == "0.173"


def test_energies_have_a_minus_sign_and_no_negative_zero():
    assert [energy_text(value) for value in (-0.126, 0.5, -0.001)] == ["−0.13", "0.50", "0.00"]
