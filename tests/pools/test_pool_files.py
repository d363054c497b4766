from __future__ import annotations

import gzip
import json
import math
import sys
import time
from pathlib import Path

import ase.io
import pandas as pd
import pytest
from ase.build import bulk
from pymatgen.core import Lattice, Structure
from pymatgen.io.ase import AseAtomsAdaptor

from hts_flows.errors import InputError
from hts_flows.pools import PoolSource, frame_to_parquet, read_pool, structure_from_text, structure_to_text

ROCKSALT = [[0, 0, 0], [0.5, 0.5, 0.5]]


def rocksalt(cation="Na", anion="Cl", a=5.64):
    half = a / 2
    return Structure(Lattice([[0, half, half], [half, 0, half], [half, half, 0]]), [cation, anion], ROCKSALT)


@pytest.fixture
def read(tmp_path):
    def read(name, content=None, /, **columns):
        if content is not None:
            (tmp_path / name).write_text(content, encoding="utf-8")
        return read_pool(PoolSource(file=name, columns=columns), tmp_path)

    return read


def test_a_table_of_formulas_gives_names_densities_and_numbers(read):
    text = "\ufeffComposition,target,note,gap\nNa1Cl1,22.43,a,8.5\nMgO,9.3,b,\nClNa,23.0,c,n/a\nNa3N,17.5,,0\n"
    frame = read("pool.csv", text, formula="Composition", volume_per_atom="target")
    assert frame.columns.tolist() == ["name", "formula", "structure", "n_atoms", "volume_per_atom", "density", "gap"]
    assert frame["name"].tolist() == ["NaCl", "MgO", "NaCl-2", "Na3N"]
    assert frame["structure"].tolist() == [None] * 4
    assert frame["n_atoms"].isna().all()
    # 58.443 u in 2 · 22.43 Å³: 2.163 g/cm³, rock salt
    assert frame["density"][0] == pytest.approx(2.163, abs=2e-3)
    assert frame["gap"].tolist()[0] == 8.5
    assert frame["gap"].isna().tolist() == [False, True, True, False]
    assert frame.attrs["left_out"] == ["note"]
    assert frame.attrs["pool"] == "pool"
    assert {str(kind) for kind in frame.dtypes[3:]} == {"float64"}


def test_the_formula_of_sodium_nitride_is_no_missing_number(read):
    frame = read("pool.csv", "id,formula,x\nNaN,NaN,NaN\n2,N1Na1,1\n")
    assert frame["formula"].tolist() == ["NaN", "NaN"]
    assert frame["name"].tolist() == ["NaN", "2"]
    assert math.isnan(frame["x"][0])


def test_rows_that_cannot_be_used_are_named_with_line_and_column(read):
    text = (
        'formula,volume_per_atom,note\nNaCl,22,\nQq2,1,\n"KCl",-3,"two\nlines"\nLiF,big,\n,4,\nMgO,inf,\n\nNaCl,22,\n'
    )
    frame = read("pool.csv", text)
    assert frame["name"].tolist() == ["NaCl"]
    assert frame.attrs["duplicates"] == 1
    reasons = [reason for _, reason in frame.attrs["skipped"]]
    expected = [
        ("line 3", "'Qq2' is no formula"),
        ("line 4", "'-3' is not a number above 0"),
        ("line 6", "'big' is not a number above 0"),
        ("line 7", "neither a formula nor a structure"),
        ("line 8", "'inf' is not"),
    ]
    assert len(reasons) == len(expected)
    for reason, (line, what) in zip(reasons, expected, strict=True):
        assert f"pool.csv, {line}: " in reason
        assert what in reason


def test_a_raised_limit_of_recursion_is_no_crash(tmp_path):
    before = sys.getrecursionlimit()
    (tmp_path / "a.json").write_text("[" * 100_000)
    sys.setrecursionlimit(10_000_000)
    try:
        with pytest.raises(InputError, match="too deep"):
            read_pool(PoolSource(file="a.json"), tmp_path)
        assert sys.getrecursionlimit() == 10_000_000
    finally:
        sys.setrecursionlimit(before)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "formula\nfoo\nbar\n", "none of its 2 rows can be used:\n.*a.csv, line 2.*\n.*line 3"),
        ("a.csv", "formula,x\n", "no candidates"),
        ("a.csv", "", "line 1: no names of columns"),
        ("a.csv", "formula,x,x\nNaCl,1,2\n", "columns x are there twice"),
        ("a.csv", "formula,x\nNaCl,1\nMgO,1,2\n", "line 3: 3 values, and line 1 names 2"),
        ("a.csv", "x,y\n1,2\n", "neither a formula nor a structure among the columns 'x', 'y'"),
        ("a.json", '[{"formula": "NaCl"},\n]', "line 2: not JSON"),
        ("a.json", '{"formula": "NaCl"}', "expected a list of records"),
        ("a.json", "3", "found a int"),
        ("a.json", "[3]", "row 1: found '3'"),
        ("a.json", "[" * 100_000, "too deep"),
        ("a.jsonl", '{"formula": "NaCl"}\n{', "line 2: not JSON"),
        ("a.parquet", "no parquet", "no parquet file"),
        ("a.csv.gz", "not compressed", "cannot read"),
        ("a.xyz", "2\nno lattice\nH 0 0 0\n", "frame 1"),
        ("a.txt", "NaCl", "allowed: .csv"),
    ],
)
def test_files_that_cannot_be_read_say_where_and_why(read, name, content, says):
    with pytest.raises(InputError, match=says):
        read(name, content)


def test_a_missing_file_and_a_missing_column_name_what_there_is(read, tmp_path):
    (tmp_path / "pool.csv").write_text("formula,volume\nNaCl,22\n")
    with pytest.raises(InputError, match=r"pol\.csv; in .* there are: pool\.csv"):
        read("pol.csv")
    with pytest.raises(InputError, match=r"no column 'volumes' .*did you mean 'volume'"):
        read("pool.csv", volume_per_atom="volumes")


def records():
    return [
        {"id": "a", "structure": rocksalt().as_dict(), "band_gap": 8.5, "is_stable": True},
        {"id": "b", "structure": rocksalt("Mg", "O", 4.21).as_dict(), "band_gap": None, "is_stable": False},
    ]


def test_every_layout_of_json_gives_the_same_pool(read):
    table = pd.DataFrame(records())
    texts = {
        "records.json": json.dumps(records()),
        "columns.json": table.to_json(),
        "split.json": table.to_json(orient="split"),
        "lines.jsonl": "\n".join(json.dumps(record) for record in records()),
        "inside.json": json.dumps({"data": records()}),
        "monty.json": json.dumps({"@module": "pandas", "@class": "DataFrame", "data": table.to_json()}),
    }
    frames = {name: read(name, text) for name, text in texts.items()}
    contents = {frame_to_parquet(frame) for frame in frames.values()}
    assert len(contents) == 1
    frame = frames["records.json"]
    assert frame["structure"].tolist() == [structure_to_text(rocksalt()), structure_to_text(rocksalt("Mg", "O", 4.21))]
    assert frame["is_stable"].tolist() == [1, 0]
    assert frame["volume_per_atom"][0] == pytest.approx(5.64**3 / 8)


def test_a_pool_that_was_written_as_parquet_or_csv_reads_the_same(read, tmp_path):
    first = read("pool.json", json.dumps(records()))
    (tmp_path / "own.parquet").write_bytes(frame_to_parquet(first))
    first.to_csv(tmp_path / "own.csv", index=False)
    with gzip.open(tmp_path / "own2.csv.gz", "wt") as stream:
        first.to_csv(stream, index=True)
    for name in ("own.parquet", "own.csv", "own2.csv.gz"):
        assert frame_to_parquet(read(name)) == frame_to_parquet(first), name


def test_columns_of_optimade_structures_in_parquet_are_structures(read, tmp_path):
    one = rocksalt()
    row = {
        "immutable_id": "x-1",
        "lattice_vectors": one.lattice.matrix.tolist(),
        "cartesian_site_positions": one.cart_coords.tolist(),
        "species_at_sites": ["Na", "Cl"],
        "energy": -1.5,
    }
    pd.DataFrame([row]).to_parquet(tmp_path / "many.parquet")
    frame = read("many.parquet", name="immutable_id")
    assert structure_from_text(frame["structure"][0]).matches(one)
    assert frame[["name", "energy"]].to_numpy().tolist() == [["x-1", -1.5]]


def test_extended_xyz_brings_its_numbers(read, tmp_path):
    frames = [AseAtomsAdaptor.get_atoms(rocksalt()), bulk("Cu"), bulk("Cu").repeat(2)]
    frames[0].info = {"name": "salt", "gap": 8.5, "words": "some"}
    frames[2].pbc = [True, True, False]
    ase.io.write(tmp_path / "pool.extxyz", frames)
    frame = read("pool.extxyz")
    assert frame["name"].tolist() == ["salt", "Cu"]
    assert frame["gap"].isna().tolist() == [False, True]
    ((_, reason),) = frame.attrs["skipped"]
    assert "frame 3: not periodic" in reason


def test_a_folder_of_structure_files(read, tmp_path):
    folder = tmp_path / "crystals"
    folder.mkdir()
    rocksalt().to(str(folder / "salt.cif"))
    rocksalt("Mg", "O", 4.21).to(str(folder / "POSCAR_mgo"), fmt="poscar")
    rocksalt("K", "Cl", 6.29).to(str(folder / "kcl.vasp"), fmt="poscar")
    (folder / "kbr.json").write_text(rocksalt("K", "Br", 6.6).to_json())
    mixed = Structure(Lattice.cubic(4), [{"Mg": 0.5, "Zn": 0.5}, "O"], ROCKSALT)
    mixed.to(str(folder / "mixed.cif"))
    (folder / "broken.cif").write_text("data_nothing\n")
    (folder / "README.txt").write_text("of no interest")
    frame = read("crystals")
    assert dict(zip(frame["name"], frame["formula"], strict=True)) == {
        "kbr": "KBr",
        "kcl": "KCl",
        "mgo": "MgO",
        "salt": "NaCl",
    }
    assert frame["n_atoms"].tolist() == [2, 2, 2, 2]
    reasons = dict(frame.attrs["skipped"])
    assert set(reasons) == {"broken", "mixed"}
    assert "file mixed.cif: site 1 is partially occupied" in reasons["mixed"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no structure files"):
        read("empty")


def test_names_are_unique_and_contradictions_are_skipped(read):
    rows = [
        {"name": "x", "formula": "NaCl", "structure": rocksalt(a=5.6).as_dict()},
        {"name": "x", "formula": "NaCl", "structure": rocksalt(a=5.7).as_dict()},
        {"name": "x-2", "formula": "NaCl", "structure": rocksalt(a=5.8).as_dict()},
        {"name": "y", "formula": "KCl", "structure": rocksalt(a=5.9).as_dict()},
        {"name": 7.0, "formula": "MgO", "structure": None},
        {"name": "again", "formula": "NaCl", "structure": rocksalt(a=5.6).as_dict()},
    ]
    frame = read("pool.json", json.dumps(rows))
    assert frame["name"].tolist() == ["x", "x-3", "x-2", "7"]
    assert frame.attrs["duplicates"] == 1
    assert "the formula says KCl, the structure NaCl" in frame.attrs["skipped"][0][1]


def test_density_alone_gives_the_volume(read):
    frame = read("pool.csv", "formula,density\nNaCl,2.163\n")
    assert frame["volume_per_atom"][0] == pytest.approx(22.43, abs=0.02)


def test_the_oqmd_table_reads_in_seconds():
    folder = Path(__file__).parents[2].parent / "shared" / "data"
    if not (folder / "oqmd_vpa_val.csv").exists():
        pytest.skip("no reference data: oqmd_vpa_val.csv is not beside this clone")
    start = time.process_time()
    frame = read_pool(
        PoolSource(file="oqmd_vpa_val.csv", columns={"formula": "formula", "volume_per_atom": "target"}), folder
    )
    assert time.process_time() - start < 30
    assert len(frame) + frame.attrs["duplicates"] == 51_255
    assert frame.attrs["skipped"] == []
    assert frame["name"].is_unique
    assert frame["formula"][0] == "LaRe2Pb"
    assert frame[["volume_per_atom", "density"]].notna().all(axis=None)
