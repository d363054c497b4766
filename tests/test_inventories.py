"""The inventories that come with hts_flows: their structures, figures and sources, and the messages of the reader."""

import re

import pytest
from ase.data import atomic_numbers, covalent_radii
from pymatgen.analysis.dimensionality import get_dimensionality_larsen
from pymatgen.analysis.graphs import StructureGraph
from pymatgen.analysis.local_env import CutOffDictNN
from pymatgen.core import Composition, Element
from pymatgen.symmetry.groups import SpaceGroup

from hts_flows.errors import InputError
from hts_flows.inventories import ElementPhase, Host, Intercalant, Inventories, crystal, load_entries

INVENTORIES = Inventories()
HOSTS = list(INVENTORIES.hosts.values())
ELEMENTS = list(INVENTORIES.elements.values())
INTERCALANTS = list(INVENTORIES.intercalants.values())
PHASES = [pytest.param(phase, id=phase.id) for phase in [*HOSTS, *ELEMENTS]]

#: g/cm³, where pymatgen's table is for another allotrope or has nothing, and why.
DENSITIES = {
    "P": 2.69,  # black; the table has white
    "Sn": 5.77,  # grey; the table has white
    "Hg": 14.49,  # solid at 5 K; the table has no solid
    "Br": 4.05,  # solid at 123 K; the table has no solid
}
#: Not in Shannon's table.
RADII_FROM_ELSEWHERE = {"Sn"}


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
    assert structure.get_space_group_info(symprec=0.01)[1] == SpaceGroup(phase.spacegroup).int_number


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
    for entry in [*HOSTS, *ELEMENTS, *INTERCALANTS]:
        assert re.search(r"[A-Z][a-z]+.*\b(19|20)\d\d\b", entry.source), entry.source


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


def test_own_folder_is_read(tmp_path, hosts_file):
    hosts_file(entry_text())
    assert list(Inventories(tmp_path).hosts) == ["mine"]


def test_missing_file_is_named_with_what_to_do(tmp_path):
    with pytest.raises(InputError, match=r"hosts\.yaml") as caught:
        Inventories(tmp_path).hosts  # noqa: B018 - read when asked for
    assert "'inventories:'" in str(caught.value)


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
