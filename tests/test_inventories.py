"""The inventories that come with hts_flows: their structures, figures and sources, and the messages of the reader."""

import csv
import math
import re
from functools import cache
from pathlib import Path
from typing import get_args

import pytest
from ase.data import atomic_numbers, covalent_radii
from pymatgen.analysis.dimensionality import get_dimensionality_larsen
from pymatgen.analysis.graphs import StructureGraph
from pymatgen.analysis.local_env import CutOffDictNN
from pymatgen.core import Composition, Element, Lattice, Structure
from pymatgen.symmetry.groups import SpaceGroup

from hts_flows.boundary_inventory import Boundary, specification
from hts_flows.errors import InputError
from hts_flows.inventories import (
    PROTOTYPES,
    Compound,
    ElementPhase,
    Host,
    Intercalant,
    Inventories,
    PrototypeName,
    crystal,
    load_entries,
)
from hts_flows.structures.boundary_specs import BicrystalCell

INVENTORIES = Inventories()
HOSTS = list(INVENTORIES.hosts.values())
ELEMENTS = list(INVENTORIES.elements.values())
INTERCALANTS = list(INVENTORIES.intercalants.values())
COMPOUNDS = list(INVENTORIES.compounds.values())
BOUNDARIES = list(INVENTORIES.boundaries.values())
PHASES = [pytest.param(phase, id=phase.id) for phase in [*HOSTS, *ELEMENTS, *COMPOUNDS]]
#: Reference data that is not part of this repository; it lies beside a clone that has it.
PUBLISHED = Path(__file__).parents[2] / "shared" / "data" / "ltc_phonondb_pbe_103.csv"

#: g/cm³, where pymatgen's table is for another allotrope or has nothing, and why.
DENSITIES = {
    "P": 2.69,  # black; the table has white
    "Sn": 5.77,  # grey; the table has white
    "Hg": 14.49,  # solid at 5 K; the table has no solid
    "Br": 4.05,  # solid at 123 K; the table has no solid
}
#: Not in Shannon's table.
RADII_FROM_ELSEWHERE = {"Sn"}
#: Atoms of the conventional cell over those of the primitive one, by the lattice's letter.
CENTRING = {"P": 1, "C": 2, "F": 4}
#: g/cm³ at room temperature: CRC Handbook of Chemistry and Physics, 97th ed. (2016), section 4.
DENSITIES_OF_COMPOUNDS = {
    "NaCl-rocksalt": 2.17,
    "MgO-rocksalt": 3.6,
    "PbTe-rocksalt": 8.16,
    "RbI-rocksalt": 3.55,
    "ZnO-wurtzite": 5.6,
    "GaAs-zincblende": 5.32,
    "CsCl-caesium_chloride": 3.99,
    "CaF2-fluorite": 3.18,
    "BaF2-fluorite": 4.89,
    "Li2O-antifluorite": 2.01,
    "MgF2-rutile": 3.15,
    "SnO-litharge": 6.45,
    "PbO-litharge": 9.35,
    "TlI-thallium_iodide": 7.1,
}


#: Sigma and plane, in the notation of Kiyohara et al., Sci. Adv. 2, e1600746 (2016): boundaries about [001].
KIYOHARA = {
    "kiyohara-2016-training": [(5, (2, 1)), (5, (3, 1)), (17, (3, 5)), (17, (4, 1))],
    "kiyohara-2016-test": [
        *[(25, (4, 3)), (25, (7, 1)), (29, (5, 2)), (29, (7, 3)), (37, (6, 1)), (37, (7, 5))],
        *[(41, (5, 4)), (41, (9, 1)), (53, (7, 2)), (53, (9, 5)), (61, (11, 1)), (125, (11, 2))],
    ],
}
#: Å: the Cleri–Rosato potential's; those of other elements are in elements.yaml.
COPPER = 3.615


@cache
def number_of(spacegroup):
    return SpaceGroup(spacegroup).int_number


@cache
def published():
    """The published compounds, rocksalt AgBr and AgCl left out as there, by formula and prototype."""
    if not PUBLISHED.exists():
        pytest.skip("no reference data: ltc_phonondb_pbe_103.csv is not beside this clone")
    with PUBLISHED.open(encoding="utf-8") as file:
        rows = {(row["formula"], row["prototype"]): row for row in csv.DictReader(file)}
    return {pair: row for pair, row in rows.items() if pair not in {("AgBr", "rocksalt"), ("AgCl", "rocksalt")}}


def radius(site):
    return covalent_radii[atomic_numbers[site.specie.symbol]]


def entry_text(**changes):
    fields = {
        "id": "mine",
        "name": "Mine",
        "formula": "Cu",
        "family": "none",
        "spacegroup": "Fm-3m",
        "lattice": "{a: 3.61}",
        "sites": "[{element: Cu, xyz: [0, 0, 0]}]",
        "source": "a measurement of ours",
    } | changes
    lines = [f"{key}: {value}" for key, value in fields.items() if value is not None]
    return "- " + "\n  ".join(lines) + "\n"


def compound_text(**changes):
    fields = {
        "family": None,
        "prototype": "rocksalt",
        "formula": "NaCl",
        "lattice": "{a: 5.64}",
        "sites": "[{element: Na, xyz: [0, 0, 0]}, {element: Cl, xyz: [0.5, 0.5, 0.5]}]",
    }
    return entry_text(**(fields | changes))


def mean_bond(compound):
    """Mean distance of the four nearest neighbours of the first atom, in Å."""
    structure = compound.structure()
    near = sorted(neighbour.nn_distance for neighbour in structure.get_neighbors(structure[0], 4))
    return sum(near[:4]) / 4


@pytest.fixture
def hosts_file(tmp_path):
    def write(text):
        path = tmp_path / "hosts.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_at_least_forty_hosts_and_forty_eight_intercalants():
    assert len(HOSTS) >= 40
    assert len(INTERCALANTS) >= 48


def test_every_element_of_hosts_and_intercalants_has_a_reference_phase():
    needed = {site.element for host in HOSTS for site in host.sites} | set(INVENTORIES.intercalants)
    assert needed <= set(INVENTORIES.elements)


def test_every_reference_phase_holds_its_element_alone():
    for phase in ELEMENTS:
        assert {site.element for site in phase.sites} == {phase.element}


def test_ids_are_unique_among_elements():
    assert len({phase.id for phase in ELEMENTS}) == len(ELEMENTS)


def test_carbon_and_phosphorus_are_the_cells_of_their_hosts():
    for element, host in (("C", "graphite"), ("P", "black-P")):
        assert INVENTORIES.elements[element].content() == INVENTORIES.hosts[host].content()


def test_only_graphite_changes_its_stacking_when_filled():
    assert [host.id for host in HOSTS if host.filled_stacking == "eclipsed"] == ["graphite"]


@pytest.mark.parametrize("phase", PHASES)
def test_structure_has_the_formula_and_the_space_group_of_its_entry(phase):
    structure = phase.structure()
    assert structure.composition.reduced_composition == Composition(phase.formula).reduced_composition
    assert structure.get_space_group_info(symprec=0.01)[1] == number_of(phase.spacegroup)


@pytest.mark.parametrize("phase", PHASES)
def test_nearest_neighbours_are_at_bonding_distances(phase):
    structure = phase.structure()
    for site, neighbours in zip(structure, structure.get_all_neighbors(5.5), strict=True):
        nearest = min(near.nn_distance / (radius(site) + radius(near)) for near in neighbours)
        assert 0.7 < nearest < 1.4


@pytest.mark.parametrize("host", [pytest.param(host, id=host.id) for host in HOSTS])
def test_host_is_layered(host):
    structure = host.structure()
    names = sorted({site.element for site in host.sites})
    bonds = {
        (one, two): 1.2 * (covalent_radii[atomic_numbers[one]] + covalent_radii[atomic_numbers[two]])
        for one in names
        for two in names
        if one <= two
    }
    graph = StructureGraph.from_local_env_strategy(structure, CutOffDictNN(bonds))
    assert get_dimensionality_larsen(graph) == 2


@pytest.mark.parametrize("phase", [pytest.param(phase, id=phase.element) for phase in ELEMENTS if not phase.molecule])
def test_density_of_the_element_is_that_of_the_literature(phase):
    expected = DENSITIES.get(phase.element) or float(Element(phase.element).density_of_solid) / 1000
    assert phase.structure().density == pytest.approx(expected, rel=0.1)


def test_molecules_are_two_atoms_far_from_their_images():
    molecules = {phase.element: phase.structure() for phase in ELEMENTS if phase.molecule}
    assert set(molecules) == {"H", "N", "O", "F", "Cl"}
    for structure in molecules.values():
        assert len(structure) == 2
        assert min(structure.lattice.abc) - structure.get_distance(0, 1) > 9


@pytest.mark.parametrize("ion", [pytest.param(ion, id=ion.element) for ion in INTERCALANTS])
def test_radius_is_shannons_for_the_charge_and_six_neighbours(ion):
    table = Element(ion.element).data["Shannon radii"].get(str(ion.charge))
    if ion.element in RADII_FROM_ELSEWHERE:
        assert table is None
        assert "not in Shannon" in ion.source
        return
    spins = {spin: value["ionic_radius"] for spin, value in table["VI"].items()}
    assert ion.ionic_radius == pytest.approx(spins.get("High Spin", spins.get("")))
    assert "Shannon" in ion.source


def test_working_ions_are_those_of_batteries():
    assert {ion.element for ion in INTERCALANTS if ion.working_ion} == {"Li", "Na", "K", "Mg", "Ca", "Zn", "Al"}


def test_every_source_names_a_work_and_its_year():
    for entry in [*HOSTS, *ELEMENTS, *INTERCALANTS, *COMPOUNDS, *BOUNDARIES]:
        assert re.search(r"[A-Z][a-z]+.*\b(19|20)\d\d\b", entry.source), entry.source


def test_collection_is_the_published_one():
    assert {compound.collection for compound in COMPOUNDS} == {"seko-2015", None}
    collected = [compound for compound in COMPOUNDS if compound.collection]
    count = {name: sum(one.prototype == name for one in collected) for name in ("rocksalt", "zincblende", "wurtzite")}
    assert count == {"rocksalt": 35, "zincblende": 33, "wurtzite": 33}
    elements = {site.element for compound in collected for site in compound.sites}
    assert len(elements) == 34
    names = {(one.formula, one.prototype) for one in collected}
    assert names == set(published())


def test_at_least_sixty_compounds_are_not_in_the_published_set():
    assert sum(compound.collection is None for compound in COMPOUNDS) >= 60


def test_cells_agree_with_the_published_ones():
    # Measured cells, CuCl in wurtzite above 680 K, against PBE at 0 K, whose volumes are 3 % larger in the mean.
    for compound in COMPOUNDS:
        if compound.collection:
            row, structure = published()[compound.formula, compound.prototype], compound.structure()
            volume = structure.volume / len(structure)
            assert volume == pytest.approx(float(row["volume_per_atom_A3"]), rel=0.08), compound.id
            assert structure.density == pytest.approx(float(row["density_g_cm3"]), rel=0.08), compound.id


@pytest.mark.parametrize(("name", "density"), DENSITIES_OF_COMPOUNDS.items(), ids=str)
def test_density_of_the_compound_is_that_of_the_literature(name, density):
    assert INVENTORIES.compounds[name].structure().density == pytest.approx(density, rel=0.02)


@pytest.mark.parametrize(
    ("name", "cell"),
    {
        "MgO-rocksalt": (4.21, None),
        "NaCl-rocksalt": (5.64, None),
        "PbTe-rocksalt": (6.46, None),
        "ZnO-wurtzite": (3.25, 5.21),
        "CsCl-caesium_chloride": (4.12, None),
        "CaF2-fluorite": (5.46, None),
    }.items(),
    ids=str,
)
def test_well_known_cell(name, cell):
    lattice = INVENTORIES.compounds[name].lattice
    assert (lattice.a, lattice.c or 0) == pytest.approx((cell[0], cell[1] or 0), abs=0.005)


@pytest.mark.parametrize("compound", [pytest.param(compound, id=compound.id) for compound in COMPOUNDS])
def test_compound_is_small_and_its_nearest_neighbours_are_of_another_element(compound):
    structure = compound.structure()
    assert len(structure) / CENTRING[compound.spacegroup[0]] <= 6
    for site, neighbours in zip(structure, structure.get_all_neighbors(4.5), strict=True):
        nearest = min(neighbours, key=lambda near: near.nn_distance)
        assert nearest.specie != site.specie
        assert 0.75 < nearest.nn_distance / (radius(site) + radius(nearest)) < 1.36  # Tl(I)–Cl


def test_cells_of_phases_never_measured_are_from_the_bonds_of_the_other_polymorph():
    derived = [compound for compound in COMPOUNDS if compound.source.startswith("No measured cell taken")]
    assert len(derived) == 15
    for compound in derived:
        other = {"wurtzite": "zincblende", "zincblende": "wurtzite"}[compound.prototype]
        assert f"of {other} {compound.formula}" in compound.source
        assert mean_bond(compound) == pytest.approx(
            mean_bond(INVENTORIES.compounds[f"{compound.formula}-{other}"]), abs=2e-4
        )
        if compound.prototype == "wurtzite":
            assert compound.lattice.c / compound.lattice.a == pytest.approx(math.sqrt(8 / 3), abs=1e-4)
            assert compound.sites[1].xyz[2] == 0.375


def test_names_of_compounds_are_their_formula_and_prototype():
    for compound in COMPOUNDS:
        assert compound.id == f"{compound.formula}-{compound.prototype}"


def test_each_prototype_is_checked_and_has_compounds():
    assert set(get_args(PrototypeName)) == {*PROTOTYPES, "other"}
    assert {compound.prototype for compound in COMPOUNDS} == set(PROTOTYPES)


@pytest.mark.parametrize("name", ["SnO-litharge", "CdSe-wurtzite", "TlI-thallium_iodide", "MgF2-rutile"])
def test_crystals_are_those_of_pymatgen(name):
    compound = INVENTORIES.compounds[name]
    cell = compound.lattice
    expected = Structure.from_spacegroup(
        compound.spacegroup,
        Lattice.from_parameters(cell.a, cell.b or cell.a, cell.c or cell.a, cell.alpha, cell.beta, cell.gamma),
        [site.element for site in compound.sites],
        [site.xyz for site in compound.sites],
    )
    assert compound.structure().sites == expected.sites


def test_content_leaves_out_names_and_sources():
    graphite = INVENTORIES.hosts["graphite"]
    assert set(graphite.content()) == {"spacegroup", "lattice", "sites"}
    renamed = graphite.model_copy(update={"name": "another", "source": "another source"})
    assert renamed.content() == graphite.content()


def test_structures_given_out_are_independent():
    graphite = INVENTORIES.hosts["graphite"]
    graphite.structure().remove_sites([0])
    assert len(graphite.structure()) == 4


def test_pick_gives_the_entry():
    assert INVENTORIES.pick("hosts", "graphite") is INVENTORIES.hosts["graphite"]


def test_pick_suggests_the_nearest_name():
    with pytest.raises(InputError, match="did you mean 'graphite'") as caught:
        INVENTORIES.pick("hosts", "grafite")
    assert "hts inventory hosts" in str(caught.value)


def test_pick_gives_a_compound_or_suggests_one():
    assert INVENTORIES.pick("compounds", "PbTe-rocksalt") is INVENTORIES.compounds["PbTe-rocksalt"]
    with pytest.raises(InputError, match="did you mean 'PbTe-rocksalt'") as caught:
        INVENTORIES.pick("compounds", "PbTe-rocksalts")
    assert "hts inventory compounds" in str(caught.value)


def test_compounds_are_listed_on_the_command_line(hts):
    shown = hts("inventory", "compounds")
    assert shown.returncode == 0
    assert re.search(r"^PbTe-rocksalt +rocksalt +Fm-3m +0\.31 +Madelung", shown.stdout, re.MULTILINE)


def test_own_folder_is_read(tmp_path, hosts_file):
    hosts_file(entry_text())
    assert list(Inventories(tmp_path).hosts) == ["mine"]


def test_missing_file_is_named_with_what_to_do(tmp_path):
    with pytest.raises(InputError, match=r"hosts\.yaml") as caught:
        Inventories(tmp_path).hosts  # noqa: B018 - read when asked for
    assert "'inventories:'" in str(caught.value)


def test_missing_compounds_are_asked_for_by_name(tmp_path):
    with pytest.raises(InputError, match=r"compounds\.yaml") as caught:
        Inventories(tmp_path).compounds  # noqa: B018 - read when asked for
    assert "holds compounds.yaml" in caught.value.hint


def test_bad_yaml_is_reported_with_file_and_line(hosts_file):
    with pytest.raises(InputError, match=r"hosts\.yaml, line 3, column 1: not valid YAML: .* begun in line 2"):
        load_entries(hosts_file("- id: mine\n  lattice: {a: 1\n"), Host, "id")


def test_a_file_in_another_encoding_is_refused(hosts_file):
    path = hosts_file("")
    path.write_bytes(entry_text(name="Grünling").encode("latin-1"))
    with pytest.raises(InputError, match=r"cannot read .*hosts\.yaml: 'utf-8' codec") as caught:
        load_entries(path, Host, "id")
    assert "UTF-8" in caught.value.hint


def test_a_key_given_twice_in_an_entry_is_refused_with_both_lines(hosts_file):
    with pytest.raises(InputError, match=r"hosts\.yaml, line 9: key 'name' is given twice \(first in line 2\)"):
        load_entries(hosts_file(entry_text() + "  name: Yours\n"), Host, "id")


def test_aliases_may_share_values_between_entries(hosts_file):
    text = entry_text(lattice="&cell {a: 3.61}") + entry_text(id="yours", lattice="*cell")
    entries = load_entries(hosts_file(text), Host, "id")
    assert entries["mine"].content() == entries["yours"].content()


def test_only_values_repeated_by_aliases_are_limited(hosts_file, monkeypatch):
    monkeypatch.setattr("hts_flows.campaign_file.MAX_REPEATED", 20)
    plain = "".join(entry_text(id=f"host{number}") for number in range(9))
    assert len(load_entries(hosts_file(plain), Host, "id")) == 9
    repeated = "".join(entry_text(id=f"host{number}", lattice="*cell") for number in range(9))
    with pytest.raises(InputError, match="aliases"):
        load_entries(hosts_file(entry_text(lattice="&cell {a: 3.61}") + repeated), Host, "id")


def test_a_file_that_is_no_list_is_refused(hosts_file):
    with pytest.raises(InputError, match=r"hosts\.yaml: expected a list of entries, found dict"):
        load_entries(hosts_file("graphite: {a: 1}\n"), Host, "id")


def test_empty_file_is_refused(hosts_file):
    with pytest.raises(InputError, match=r"hosts\.yaml: expected a list of entries, found nothing"):
        load_entries(hosts_file("# nothing yet\n"), Host, "id")


def test_unknown_key_is_named_with_file_and_entry(hosts_file):
    with pytest.raises(InputError, match=r"hosts\.yaml: entry mine: space_group") as caught:
        load_entries(hosts_file(entry_text(space_group="Fm-3m")), Host, "id")
    assert "did you mean 'spacegroup'" in str(caught.value)


def test_missing_key_is_named_with_file_and_entry(hosts_file):
    with pytest.raises(InputError, match=r"hosts\.yaml: entry mine: source: Field required"):
        load_entries(hosts_file(entry_text(source=None)), Host, "id")


def test_bad_value_is_named_with_its_place_and_itself(hosts_file):
    with pytest.raises(InputError, match=r"hosts\.yaml: entry mine: lattice\.a: .*-3\.61"):
        load_entries(hosts_file(entry_text(lattice="{a: -3.61}")), Host, "id")


def test_unknown_element_is_named_with_its_place(hosts_file):
    with pytest.raises(InputError, match=r"hosts\.yaml: entry mine: sites\.0\.element: .*'Qq'"):
        load_entries(hosts_file(entry_text(sites="[{element: Qq, xyz: [0, 0, 0]}]")), Host, "id")


def test_duplicate_is_named_with_file_and_key(hosts_file):
    with pytest.raises(InputError, match=r"hosts\.yaml: id 'mine' is given twice"):
        load_entries(hosts_file(entry_text() + entry_text()), Host, "id")


def test_yaml_reading_yttrium_as_yes_is_refused_with_its_place(tmp_path):
    path = tmp_path / "intercalants.yaml"
    path.write_text("- {element: no, charge: 3, ionic_radius: 0.9, source: a measurement}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"intercalants\.yaml: entry False: element: .*quote"):
        load_entries(path, Intercalant, "element")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"formula": "CuO"}, "mine: the sites give Cu, the formula is CuO"),
        ({"spacegroup": "Fm-9m"}, "mine: cannot build the structure"),
        ({"spacegroup": "P6_3/mmc"}, "mine: cannot build the structure"),
        ({"formula": "Copperish"}, "mine: cannot build the structure"),
        ({"sites": "[{element: Cu, xyz: [0.05, 0, 0]}]"}, "mine: atoms are nearer than 0.6 Å"),
    ],
)
def test_a_structure_that_cannot_be_right_is_refused(hosts_file, changes, message):
    host = load_entries(hosts_file(entry_text(**changes)), Host, "id")["mine"]
    with pytest.raises(InputError, match=re.escape(message)):
        host.structure()


def test_content_with_an_unknown_space_group_is_refused():
    content = INVENTORIES.hosts["graphite"].content() | {"spacegroup": "P9_9/foo"}
    with pytest.raises(InputError, match="'P9_9/foo'") as caught:
        crystal(content)
    assert "spacegroup" in caught.value.hint


def test_molecule_flag_is_for_elements_only(hosts_file):
    with pytest.raises(InputError, match="entry mine: molecule"):
        load_entries(hosts_file(entry_text(molecule="true")), Host, "id")
    text = entry_text(molecule="true", element="Cu", family=None)
    assert load_entries(hosts_file(text), ElementPhase, "id")["mine"].molecule is True


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prototype": "rocksaltt"}, "prototype: Input should be 'rocksalt', "),
        ({"prototype": "zincblende"}, "prototype: Value error, space group F-43m in this prototype, Fm-3m in the"),
        ({"prototype": "fluorite"}, "prototype: Value error, NaCl is not 1:2 "),
        ({"prototype": "fluorite", "formula": "Na2Cl"}, "prototype: Value error, Na2Cl is not 1:2 "),
        ({"sites": "[{element: Na, xyz: [0, 0, 0]}]"}, "prototype: Value error, 2 sites in this prototype, 1 in the"),
        ({"band_gap": "8.5"}, "band_gap_kind: Value error, give it where there is a band_gap"),
        ({"band_gap_kind": "computed"}, "band_gap_kind: Value error, give it where there is a band_gap"),
        ({"band_gap": "-1", "band_gap_kind": "computed"}, "band_gap: Input should be greater than or equal to 0"),
        ({"prototype": None}, "prototype: Field required"),
    ],
)
def test_a_compound_that_is_not_of_its_prototype_is_refused(hosts_file, changes, message):
    with pytest.raises(InputError, match=re.escape(message)):
        load_entries(hosts_file(compound_text(**changes)), Compound, "id")


def test_own_compounds_may_be_of_another_prototype(hosts_file):
    text = compound_text(prototype="other", spacegroup="Pm-3m", band_gap="0.3", band_gap_kind="computed")
    compound = load_entries(hosts_file(text), Compound, "id")["mine"]
    assert (compound.prototype, compound.band_gap, compound.band_gap_kind) == ("other", 0.3, "computed")
    assert compound.structure().composition.reduced_formula == "NaCl"


def boundary_text(**changes):
    fields = {
        "formula": None,
        "family": None,
        "spacegroup": None,
        "lattice": None,
        "sites": None,
        "element": "Cu",
        "axis": "[0, 0, 1]",
        "plane": "[2, 1, 0]",
    }
    return entry_text(**(fields | changes))


def indices(vector):
    return ("_" if max(map(abs, vector)) > 9 else "").join(str(abs(one)) for one in vector)


@pytest.mark.parametrize("entry", [pytest.param(one, id=one.id) for one in BOUNDARIES])
def test_boundary_builds_as_what_its_id_and_name_say(entry):
    spec = specification(entry.content(INVENTORIES))
    bicrystal = BicrystalCell(thickness=12, shape="smallest").bicrystal(spec)
    built = bicrystal.built
    of = entry.element or INVENTORIES.compounds[entry.compound].formula
    # What was found in the atoms; planes of the form {hkl} have their largest indices first there.
    assert sorted(map(abs, built.planes[0])) == sorted(map(abs, entry.plane or entry.axis))
    assert (built.sigma, built.angle) == (entry.sigma, pytest.approx(entry.angle, abs=0.005))
    what = "twist" if entry.kind == "twist" else indices(entry.plane)
    termination = f"-t{entry.termination}" if entry.termination else ""
    assert entry.id == f"{of}-S{built.sigma}-{indices(entry.axis)}-{what}{termination}"
    assert entry.name.startswith(f"{spec.formula} Σ{entry.sigma}[")
    assert entry.kind == "twist" or re.search(r" symmetric tilt| twin|\)$", entry.name)


@pytest.mark.parametrize("entry", [pytest.param(one, id=one.id) for one in BOUNDARIES if one.compound])
def test_terminations_of_compounds_are_all_there_and_named_after_their_atoms(entry):
    spec = specification(entry.content(INVENTORIES))
    plane = [one for one in BOUNDARIES if (one.compound, one.plane) == (entry.compound, entry.plane)]
    number = len(spec.crystal.planes(entry.plane))
    assert sorted(one.termination for one in plane) == list(range(number))
    bicrystal = BicrystalCell(boundaries=1).bicrystal(spec)
    lower = (bicrystal.grain == 1) & (abs(bicrystal.positions[:, 2] - bicrystal.boundary_heights[0]) < 0.01)
    counts = {
        name: sum(at and one == name for at, one in zip(lower, bicrystal.symbols, strict=True))
        for name in bicrystal.symbols
    }
    there = {name: count for name, count in counts.items() if count}
    named = re.search(r", (\w+) termination$", entry.name)
    assert bool(named) == (number > 1)
    if named:
        assert Composition(there).reduced_composition == Composition(named.group(1)).reduced_composition


def test_cells_of_the_elements_of_boundaries_are_those_of_the_inventory():
    for entry in BOUNDARIES:
        if entry.element == "Cu":
            assert entry.lattice_constant == COPPER
        elif entry.element:
            assert entry.lattice_constant == INVENTORIES.elements[entry.element].lattice.a


def test_the_sixteen_copper_boundaries_are_the_published_ones():
    for collection, expected in KIYOHARA.items():
        found = [one for one in BOUNDARIES if one.collection == collection]
        assert [(one.sigma, sorted(map(abs, one.plane))) for one in found] == [
            (sigma, [0, *sorted(plane)]) for sigma, plane in expected
        ]
        for one in found:
            h, k, l = one.plane  # noqa: E741
            angle = 2 * math.degrees(math.atan2(k, h))
            assert (one.element, l, one.axis) == ("Cu", 0, (0, 0, 1))
            assert one.angle == pytest.approx(angle, abs=0.006)
    assert {one.collection for one in BOUNDARIES} == {*KIYOHARA, None}


def test_boundaries_are_of_fcc_and_bcc_metals_and_of_oxides():
    of = {one.element or one.compound for one in BOUNDARIES}
    assert of >= {"Cu", "Ni", "Al", "Ag", "Au", "Pd", "Pt", "Fe", "W", "Mo", "Cr", "Nb", "Ta", "V"}
    assert of >= {"SrTiO3-perovskite", "MgO-rocksalt"}
    assert {"Fe-S3-110-111", "SrTiO3-S3-110-112", "MgO-S5-001-310"} <= INVENTORIES.boundaries.keys()


def test_pick_gives_a_boundary_or_suggests_one():
    assert INVENTORIES.pick("boundaries", "Cu-S5-001-210") is INVENTORIES.boundaries["Cu-S5-001-210"]
    with pytest.raises(InputError, match=r"grain_boundaries\.yaml; did you mean 'SrTiO3-S5-001-310'") as caught:
        INVENTORIES.pick("boundaries", "SrTiO3-S5-001-31")
    assert "hts inventory boundaries" in str(caught.value)


def test_boundaries_are_listed_on_the_command_line(hts):
    shown = hts("inventory", "boundaries")
    assert shown.returncode == 0
    assert re.search(
        r"^Cu-S5-001-210 +Cu Σ5\[001\]\(210\) symmetric tilt +53\.13 +0 +kiyohara", shown.stdout, re.MULTILINE
    )


def test_missing_boundaries_are_asked_for_by_name(tmp_path):
    with pytest.raises(InputError, match=r"grain_boundaries\.yaml") as caught:
        Inventories(tmp_path).boundaries  # noqa: B018 - read when asked for
    assert "holds grain_boundaries.yaml" in caught.value.hint


@pytest.mark.parametrize(
    ("changes", "message", "remedy"),
    [
        ({"sigma": "7"}, "the entry: Value error, Σ7 does not exist for rotations about [001]", "nearest that do: Σ5"),
        ({"sigma": "17"}, "The plane (210) belongs to Σ5, not to Σ17", "Σ17[001](410) 28.07°"),
        ({"angle": "36.87"}, "Σ5[001](210) does not belong to 36.87°", "36.87° belongs to Σ5[001](310)"),
        ({"plane": "[1, 1, 1]"}, "The plane (111) does not contain the axis [001]", "hu + kv + lw = 0"),
        ({"plane": "[1, 1, 0]"}, "(110) is a mirror plane of the crystal", "Σ5[001]"),
        ({"plane": None}, "Nothing says which boundary is meant", "Give its sigma"),
        ({"compound": "MgO-rocksalt"}, "give either element", "compounds.yaml"),
        ({"element": None}, "give either element", "compounds.yaml"),
        ({"element": None, "compound": "MgO-rocksalt", "lattice_constant": "4"}, "lattice_constant is for element", ""),
        ({"element": "Xx"}, "element: Value error, not the symbol of an element (found 'Xx')", ""),
        ({"kind": "tilt"}, "kind: Input should be 'symmetric_tilt' or 'twist' (found 'tilt')", ""),
    ],
)
def test_a_boundary_whose_numbers_do_not_belong_together_is_refused(tmp_path, changes, message, remedy):
    file = tmp_path / "grain_boundaries.yaml"
    file.write_text(boundary_text(**changes), encoding="utf-8")
    with pytest.raises(InputError, match="entry mine") as caught:
        load_entries(file, Boundary, "id")
    assert message in str(caught.value)
    assert remedy in str(caught.value)
