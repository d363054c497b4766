"""Compounds as they stand in a library: the project's inventory, and pools of further candidates."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from hts_flows.candidates import Candidate, CandidateSpace
from hts_flows.errors import InputError
from hts_flows.inventories import crystal
from hts_flows.nested_models import read_nested
from hts_flows.pools import PoolSource
from hts_flows.structures.bulk import primitive_cell

if TYPE_CHECKING:
    import pandas as pd
    from pymatgen.core import Structure

    from hts_flows.inventories import Compound, Inventories

#: Raised when the same inputs give another structure than before; part of every id.
GENERATOR_VERSION = 1
#: Name of the pool that the inventory is.
INVENTORY = "inventory"
#: Columns of a pool that are no property of the compound.
_OWN_COLUMNS = frozenset({"name", "formula", "structure"})


class FrozenPool(BaseModel):
    """A pool as it was read when the campaign was stored: later readings of its source change nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="Name of the pool")
    sha256: str = Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the pool's table, which the database holds")
    source: dict[str, Any] = Field(description="Where it was read from")

    @property
    def title(self) -> str:
        """Name of the pool."""
        return self.name


def _read_pool_entry(value: Any) -> Any:
    """Tell the two kinds of entries apart, so that what is wrong with one is told once."""
    if isinstance(value, FrozenPool | PoolSource):
        return value
    return read_nested(FrozenPool if isinstance(value, dict) and "sha256" in value else PoolSource, value)


class CompoundSpace(CandidateSpace):
    """Compounds of the inventory and of pools, as they are."""

    domain: Literal["compounds"] = Field(description="Name of the domain")
    compounds: Literal["all"] | list[str] = Field(
        default=[], description="Ids in inventories/compounds.yaml ('hts inventory compounds'), or all"
    )
    pools: list[Annotated[FrozenPool | PoolSource, BeforeValidator(_read_pool_entry)]] = Field(
        default=[], description="Further candidates: files, OPTIMADE databases, the Materials Project"
    )

    @field_validator("compounds", mode="before")
    @classmethod
    def _names(cls, value: Any) -> Any:
        names = isinstance(value, list) and all(isinstance(name, str) for name in value)
        if value != "all" and not names:
            raise ValueError("write all, or a list of ids, e.g. [NaCl-rocksalt, MgO-rocksalt]")
        return value

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.compounds and not self.pools:
            raise ValueError("give compounds (all, or a list of ids), or pools, or both")
        names = [pool.title for pool in self.pools]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two pools are named {twice[0]!r}: give one of them another 'name:'")
        if INVENTORY in names:
            raise ValueError(f"{INVENTORY!r} is what the inventory is called: give the pool another 'name:'")
        return self

    def candidates(self, inventories: Inventories) -> Iterator[Candidate]:
        """Yield the inventory's compounds in its order, then each pool's in the pool's."""
        chosen = inventories.compounds if self.compounds == "all" else self.compounds
        for name in chosen:
            yield compound_candidate(inventories.compounds[name])
        for pool in self.pools:
            yield from pool_candidates(self.frame(pool), pool.title)

    def skipped(self, inventories: Inventories) -> list[tuple[str, str]]:
        """List the entries of pools that cannot be used: name and reason."""
        del inventories
        return [tuple(pair) for pool in self.pools for pair in self.frame(pool).attrs.get("skipped", [])]

    def frame(self, pool: FrozenPool | PoolSource) -> pd.DataFrame:
        """Read a pool's table; see :func:`hts_flows.pools.read_pool` for its columns."""
        if isinstance(pool, FrozenPool):
            from hts_flows.stores.pools import pool_frame, pool_path

            return pool_frame(pool_path(pool.sha256))
        from hts_flows.pools import read_pool

        return read_pool(pool)

    def placed(self, folder: Path) -> Self:
        """Give the same with relative paths of pools taken from a folder."""
        pools = [
            pool
            if isinstance(pool, FrozenPool) or pool.file is None
            else pool.model_copy(update={"file": str(folder / Path(pool.file).expanduser())})
            for pool in self.pools
        ]
        return self.model_copy(update={"pools": pools})

    def frozen(self, store: Callable[[pd.DataFrame], str], before: CandidateSpace | None) -> Self:
        """Give the same with every pool read and put into the store.

        A database is asked once: where the campaign was stored with the same question, its answer of then stays.
        """
        answered: dict[str, FrozenPool] = {}
        if isinstance(before, CompoundSpace):
            answered = {one.name: one for one in before.pools if isinstance(one, FrozenPool)}
        pools: list[FrozenPool | PoolSource] = []
        for pool in self.pools:
            if isinstance(pool, FrozenPool):
                pools.append(pool)
                continue
            source = pool.model_dump(mode="json", exclude_defaults=True)
            if pool.file is not None:
                source["file"] = Path(pool.file).name  # wherever it lies
            old = answered.get(pool.title)
            same = old is not None and old.source == source and pool.file is None
            sha256 = old.sha256 if old and same else store(self.frame(pool))
            pools.append(FrozenPool(name=pool.title, sha256=sha256, source=source))
        return self.model_copy(update={"pools": pools})

    def tables(self) -> list[str]:
        """SHA-256 of each frozen pool."""
        return [pool.sha256 for pool in self.pools if isinstance(pool, FrozenPool)]


def compound_candidate(compound: Compound) -> Candidate:
    """Give the candidate of a compound of the inventory; equal crystals share its id, whatever they are called."""
    content = compound.content()
    atoms = crystal(content)
    data = {
        "name": compound.id,
        "pool": INVENTORY,
        "prototype": compound.prototype,
        "n_atoms": len(atoms) // _centring(compound.spacegroup),
        "volume_per_atom": atoms.volume / len(atoms),
        "density": float(atoms.density),
    }
    if compound.collection is not None:
        data["collection"] = compound.collection
    if compound.band_gap is not None:
        data["band_gap"] = compound.band_gap
    formula = compound.formula
    return Candidate(
        domain="compounds",
        inputs={"version": GENERATOR_VERSION, "content": content},
        label=compound.name if compound.prototype == "other" else f"{formula} {compound.prototype.replace('_', ' ')}",
        formula=formula,
        data=data,
    )


def pool_candidates(frame: pd.DataFrame, pool: str) -> Iterator[Candidate]:
    """Give the candidates of a pool.

    Parameters
    ----------
    frame
        Table of the pool; see :func:`hts_flows.pools.read_pool`.
    pool
        Name of the pool.
    """
    import pandas as pd

    for row in frame.to_dict("records"):
        data: dict[str, Any] = {"name": row["name"], "pool": pool}
        for name, value in row.items():
            if name not in _OWN_COLUMNS and not pd.isna(value):
                data[str(name)] = int(value) if name == "n_atoms" else float(value)
        inputs: dict[str, Any] = {"version": GENERATOR_VERSION}
        if row["structure"]:
            inputs["structure"] = row["structure"]
        else:
            inputs |= {"pool": pool, "name": row["name"], "formula": row["formula"]}
        formula, name = str(row["formula"]), str(row["name"])
        label = name if name.startswith(formula) else f"{formula} {name}"
        yield Candidate(domain="compounds", inputs=inputs, label=label, formula=formula, data=data)


def has_structure(candidate: Candidate) -> bool:
    """Tell whether there is a structure to compute: a pool may hold formulas alone."""
    return "content" in candidate.inputs or "structure" in candidate.inputs


def build(candidate: Candidate) -> Structure:
    """Build the structure from the candidate's inputs alone.

    Returns
    -------
    Structure
        The primitive cell where that is smaller, else the cell of the source.

    Raises
    ------
    InputError
        Its pool gives a formula without a structure.
    """
    inputs = candidate.inputs
    if not has_structure(candidate):
        raise InputError(
            f"{candidate.label}: pool {inputs['pool']!r} gives no structure for it, so it can be ranked, not computed",
            "add structures to the pool (docs/pools.md)",
        )
    if "content" in inputs:
        structure = crystal(inputs["content"])
    else:
        from hts_flows.pools import structure_from_text

        structure = structure_from_text(inputs["structure"])
    structure = primitive_cell(structure)
    structure.properties["provenance"] = {"name": candidate.data.get("name"), "pool": candidate.data.get("pool")}
    return structure


def facets(candidate: Candidate) -> dict[str, Any]:
    """Give what candidates are told apart by: all that is known of them beforehand."""
    return dict(candidate.data)


def _centring(spacegroup: str) -> int:
    """Lattice points in the conventional cell, by the letter of the space group (R: hexagonal axes)."""
    return {"F": 4, "R": 3, "I": 2, "A": 2, "B": 2, "C": 2}.get(spacegroup[0], 1)
