"""The inventories: hosts, intercalants, elements, compounds and boundaries, each with its source, read from YAML."""

from __future__ import annotations

from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from hts_flows.campaign_file import parse_yaml
from hts_flows.errors import InputError, nearest

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from pymatgen.symmetry.groups import SpaceGroup

    from hts_flows.boundary_inventory import Boundary

_HERE = Path(__file__).resolve().parent
#: Inside the package when installed, in the project's root in a checkout.
DEFAULT_FOLDER = next(
    (folder for folder in (_HERE / "_inventories", _HERE.parent / "inventories") if folder.is_dir()),
    _HERE / "_inventories",
)
#: Atoms nearer than this, in Å, mean a wrong coordinate or a wrong origin choice (H–H in H2 is 0.74).
CLOSEST_ATOMS = 0.6
_CHECK_ENTRY = (
    "check spacegroup (pymatgen's spelling, e.g. P6_3/mmc or R-3m), lattice, sites and formula of the entry in the "
    "inventory's file"
)


def check_symbol(value: object) -> object:
    """Give a value back that is the symbol of an element.

    Raises
    ------
    ValueError
        It is none.
    """
    from pymatgen.core import Element

    if isinstance(value, bool):
        raise ValueError("a symbol that YAML reads as yes or no: put it in quotes")  # noqa: TRY004 - pydantic reports it
    if isinstance(value, str) and not Element.is_valid_symbol(value):
        raise ValueError("not the symbol of an element")
    return value


#: Symbol of an element, checked.
Symbol = Annotated[str, BeforeValidator(check_symbol)]


class Site(BaseModel):
    """One atom of the asymmetric unit."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    element: Symbol = Field(description="Symbol of the element")
    xyz: tuple[float, float, float] = Field(description="Fractional coordinates")


class LatticeParameters(BaseModel):
    """Conventional cell; lengths left out follow from the crystal system."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    a: float = Field(gt=0, description="Å")
    b: float | None = Field(default=None, gt=0, description="Å; a when left out")
    c: float | None = Field(default=None, gt=0, description="Å; a when left out")
    alpha: float = Field(default=90, gt=0, lt=180, description="degrees")
    beta: float = Field(default=90, gt=0, lt=180, description="degrees")
    gamma: float = Field(default=90, gt=0, lt=180, description="degrees")


@lru_cache(maxsize=64)
def _space_group(symbol: str) -> SpaceGroup:
    """Give a space group, once for each: pymatgen needs 0.5 s for those with 192 operations."""
    from pymatgen.symmetry.groups import SpaceGroup

    return SpaceGroup.from_int_number(int(symbol)) if symbol.isdigit() else SpaceGroup(symbol)


@lru_cache(maxsize=256)
def _crystal(spacegroup: str, lattice: LatticeParameters, sites: tuple[Site, ...]) -> Structure:
    """Build a crystal as pymatgen's ``Structure.from_spacegroup`` does, which would make the group anew each time."""
    from pymatgen.core import Lattice, Structure

    group = _space_group(spacegroup)
    cell = Lattice.from_parameters(
        lattice.a, lattice.b or lattice.a, lattice.c or lattice.a, lattice.alpha, lattice.beta, lattice.gamma
    )
    if not group.is_compatible(cell):
        raise ValueError(f"it does not allow a cell of {cell.abc} Å and {cell.angles} degrees")
    orbits = [group.get_orbit(site.xyz) for site in sites]
    species = [site.element for site, orbit in zip(sites, orbits, strict=True) for _ in orbit]
    return Structure(cell, species, [xyz for orbit in orbits for xyz in orbit])


def crystal(content: dict[str, Any]) -> Structure:
    """Build the conventional cell from what :meth:`Phase.content` gave.

    Raises
    ------
    InputError
        The space group is unknown or does not allow the cell.
    """
    sites = tuple(Site.model_validate(site) for site in content["sites"])
    try:
        return _crystal(content["spacegroup"], LatticeParameters.model_validate(content["lattice"]), sites).copy()
    except ValueError as error:
        raise InputError(
            f"cannot build the crystal of space group {content['spacegroup']!r}: {error}", _CHECK_ENTRY
        ) from error


class Phase(BaseModel):
    """A crystal as the literature gives it: space group, cell, asymmetric unit, source."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(description="Name used in campaign files", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    name: str = Field(description="Name for people")
    formula: str = Field(description="Formula, checked against the structure when it is built")
    spacegroup: str = Field(
        description="Hermann–Mauguin symbol in pymatgen's spelling, e.g. P6_3/mmc; ':2' after it for origin choice 2"
    )
    lattice: LatticeParameters = Field(description="Conventional cell")
    sites: tuple[Site, ...] = Field(min_length=1, description="Asymmetric unit")
    source: str = Field(min_length=8, description="Where the numbers are from")

    def structure(self) -> Structure:
        """Build the conventional cell.

        Returns
        -------
        Structure
            pymatgen structure with lengths in Å.

        Raises
        ------
        InputError
            The space group is unknown or does not allow the cell, the sites do not give the formula, or atoms fall
            on each other.
        """
        from pymatgen.core import Composition

        try:
            structure = _crystal(self.spacegroup, self.lattice, self.sites).copy()
            expected = Composition(self.formula)
        except ValueError as error:
            raise InputError(
                f"{self.id}: cannot build the structure of space group {self.spacegroup!r}: {error}", _CHECK_ENTRY
            ) from error
        if structure.composition.reduced_composition != expected.reduced_composition:
            raise InputError(
                f"{self.id}: the sites give {structure.composition.reduced_formula}, the formula is {self.formula}",
                f"check the coordinates, and the origin choice of {self.spacegroup} (':1' or ':2' after the symbol)",
            )
        if not structure.is_valid(tol=CLOSEST_ATOMS):
            raise InputError(
                f"{self.id}: atoms are nearer than {CLOSEST_ATOMS} Å",
                f"check the coordinates, and the origin choice of {self.spacegroup} (':1' or ':2' after the symbol)",
            )
        return structure

    def content(self) -> dict[str, Any]:
        """Give what determines the structure, and nothing else: this is what ids are made from."""
        return self.model_dump(mode="json", include={"spacegroup", "lattice", "sites"}, exclude_none=True)


class Host(Phase):
    """A layered host."""

    family: str = Field(description="e.g. graphite, 1T dichalcogenide, 2H dichalcogenide, layered oxide")
    filled_stacking: Literal["host", "eclipsed"] = Field(
        default="host",
        description="How the two layers around a filled gap lie: as in the host, or eclipsed (graphite: AB to AA)",
    )


class ElementPhase(Phase):
    """The elemental phase that energies of an element refer to; for molecules (O2, N2, …) a large box."""

    element: Symbol = Field(description="Symbol of the element")
    molecule: bool = Field(
        default=False,
        description="One isolated molecule in a large box: atoms are relaxed, the box is kept",
    )


class Prototype(NamedTuple):
    """What makes an entry a crystal of a prototype."""

    spacegroup: str
    #: Number of atoms in the asymmetric unit.
    sites: int
    #: Atoms of each element in the formula, from the most electropositive element to the most electronegative.
    atoms: tuple[int, ...]


PrototypeName = Literal[
    "rocksalt",
    "zincblende",
    "wurtzite",
    "caesium_chloride",
    "litharge",
    "thallium_iodide",
    "fluorite",
    "antifluorite",
    "rutile",
    "half_heusler",
    "perovskite",
    "other",
]
#: The prototypes that are checked; ``other`` is anything else.
PROTOTYPES: dict[str, Prototype] = {
    "rocksalt": Prototype("Fm-3m", 2, (1, 1)),
    "zincblende": Prototype("F-43m", 2, (1, 1)),
    "wurtzite": Prototype("P6_3mc", 2, (1, 1)),
    "caesium_chloride": Prototype("Pm-3m", 2, (1, 1)),
    "litharge": Prototype("P4/nmm", 2, (1, 1)),
    "thallium_iodide": Prototype("Cmcm", 2, (1, 1)),
    "fluorite": Prototype("Fm-3m", 2, (1, 2)),
    "antifluorite": Prototype("Fm-3m", 2, (2, 1)),
    "rutile": Prototype("P4_2/mnm", 2, (1, 2)),
    "half_heusler": Prototype("F-43m", 3, (1, 1, 1)),
    "perovskite": Prototype("Pm-3m", 3, (1, 1, 3)),
}


def _atoms(formula: str) -> tuple[int, ...]:
    """Count the atoms of each element in the reduced formula, the most electropositive element first."""
    from pymatgen.core import Composition

    reduced = Composition(formula).reduced_composition
    return tuple(round(reduced[element]) for element in sorted(reduced, key=lambda element: element.X))


class Compound(Phase):
    """A compound of a known prototype."""

    prototype: PrototypeName = Field(
        description="Structure type; space group, number of sites and formula are checked against it ('other': nothing)"
    )
    collection: str | None = Field(
        default=None, description="Published set that the compound is one of, e.g. seko-2015; nothing for all others"
    )
    band_gap: float | None = Field(default=None, ge=0, description="eV, where it is well known; source names its work")
    band_gap_kind: Literal["experimental", "computed"] | None = Field(
        default=None, validate_default=True, description="Where the gap is from; not to be left out with band_gap"
    )

    @field_validator("prototype")
    @classmethod
    def _fits_the_entry(cls, name: str, info: ValidationInfo) -> str:
        prototype = PROTOTYPES.get(name)
        if prototype is None or not {"formula", "spacegroup", "sites"} <= set(info.data):
            return name
        group, formula = info.data["spacegroup"], info.data["formula"]
        if group.partition(":")[0] != prototype.spacegroup:
            raise ValueError(f"space group {prototype.spacegroup} in this prototype, {group} in the entry")
        if len(info.data["sites"]) != prototype.sites:
            raise ValueError(f"{prototype.sites} sites in this prototype, {len(info.data['sites'])} in the entry")
        if _atoms(formula) != prototype.atoms:
            ratio = ":".join(map(str, prototype.atoms))
            raise ValueError(
                f"{formula} is not {ratio} (electropositive element first), which the formula is in this prototype"
            )
        return name

    @field_validator("band_gap_kind")
    @classmethod
    def _goes_with_a_gap(cls, kind: str | None, info: ValidationInfo) -> str | None:
        if "band_gap" in info.data and (kind is None) != (info.data["band_gap"] is None):
            raise ValueError("give it where there is a band_gap, and only there")
        return kind


class Intercalant(BaseModel):
    """An element that goes into van der Waals gaps."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    element: Symbol = Field(description="Symbol of the element")
    charge: int = Field(description="Usual charge of the aqueous ion, in e")
    ionic_radius: float = Field(gt=0, description="Shannon radius of that ion, six-fold coordination where known, Å")
    working_ion: bool = Field(default=False, description="Used as working ion of batteries: a voltage is given")
    source: str = Field(min_length=8, description="Where the numbers are from")


Entry = TypeVar("Entry", bound=BaseModel)


def load_entries(path: Path, model: type[Entry], key: str) -> dict[str, Entry]:
    """Read one inventory file: a YAML list of entries.

    Raises
    ------
    InputError
        Missing or unreadable file, YAML syntax, an entry that does not fit the model, or a name given twice.
    """
    if not path.is_file():
        alone = path.stem in {"compounds", "grain_boundaries"}
        files = path.name if alone else "hosts.yaml, intercalants.yaml and elements.yaml"
        raise InputError(
            f"inventory file not found: {path}",
            f"give the folder that holds {files} as 'inventories:' in the "
            "campaign file, or leave that line out to use the ones that come with hts_flows",
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}", "save the inventory as text in UTF-8") from error
    _, raw = parse_yaml(text, str(path))
    if not isinstance(raw, list):
        kind = "nothing" if raw is None else type(raw).__name__
        raise InputError(
            f"{path}: expected a list of entries, found {kind}", f"begin each entry with '- {key}: …' on a line"
        )
    entries: dict[str, Entry] = {}
    for number, item in enumerate(raw, start=1):
        try:
            entry = model.model_validate(item)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the entry"
            name = item.get(key, f"number {number}") if isinstance(item, dict) else f"number {number}"
            found = "" if first["type"] == "value_error" and not first["loc"] else f" (found {first['input']!r})"
            unknown = first["type"] == "extra_forbidden" and len(first["loc"]) == 1
            raise InputError(
                f"{path}: entry {name}: {where}: {first['msg']}{found}",
                nearest(where, model.model_fields) if unknown else None,
            ) from error
        name = getattr(entry, key)
        if name in entries:
            raise InputError(f"{path}: {key} {name!r} is given twice")
        entries[name] = entry
    return entries


InventoryName = Literal["hosts", "intercalants", "elements", "compounds", "boundaries"]


class Inventories:
    """The inventories of one folder, each file read when first asked for.

    Parameters
    ----------
    folder
        Folder with those of the project's YAML files that are needed; the project's own folder when left out.
    """

    def __init__(self, folder: Path | str | None = None) -> None:
        self.folder = Path(folder) if folder is not None else DEFAULT_FOLDER

    @cached_property
    def hosts(self) -> dict[str, Host]:
        """Layered hosts by id."""
        return load_entries(self.folder / "hosts.yaml", Host, "id")

    @cached_property
    def intercalants(self) -> dict[str, Intercalant]:
        """Intercalants by element."""
        return load_entries(self.folder / "intercalants.yaml", Intercalant, "element")

    @cached_property
    def elements(self) -> dict[str, ElementPhase]:
        """Elemental reference phases by element."""
        return load_entries(self.folder / "elements.yaml", ElementPhase, "element")

    @cached_property
    def compounds(self) -> dict[str, Compound]:
        """Compounds by id."""
        return load_entries(self.folder / "compounds.yaml", Compound, "id")

    @cached_property
    def boundaries(self) -> dict[str, Boundary]:
        """Grain boundaries by id."""
        from hts_flows.boundary_inventory import Boundary

        return load_entries(self.folder / "grain_boundaries.yaml", Boundary, "id")

    def pick(self, kind: InventoryName, name: str) -> BaseModel:
        """Look up one entry.

        Raises
        ------
        InputError
            With the nearest names, when there is no such entry.
        """
        entries = getattr(self, kind)
        if name not in entries:
            file = self.folder / ("grain_boundaries.yaml" if kind == "boundaries" else f"{kind}.yaml")
            raise InputError(
                f"{name!r} is not in {file}; {nearest(name, entries)}",
                f"list them with 'hts inventory {kind}'",
            )
        return entries[name]
