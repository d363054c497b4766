"""INCAR tags of the functionals that the engine ``vasp`` offers."""

from __future__ import annotations

Scalar = bool | int | float | str

#: Tags as given in VASP's manual (pages "vdW-DF functionals", "IVDW", "METAGGA"); None removes a tag of the base set.
#:
#: optB88-vdW, optB86b-vdW: J. Klimeš, D. R. Bowler, A. Michaelides, J. Phys.: Condens. Matter 22, 022201 (2010) and
#: Phys. Rev. B 83, 195131 (2011). rev-vdW-DF2: I. Hamada, Phys. Rev. B 89, 121103 (2014). D3(BJ): S. Grimme,
#: S. Ehrlich, L. Goerigk, J. Comput. Chem. 32, 1456 (2011). r2SCAN: J. W. Furness et al., J. Phys. Chem. Lett. 11, 8208
#: (2020); r2SCAN+rVV10: J. Ning et al., Phys. Rev. B 106, 075422 (2022), b = 11.95.
FUNCTIONAL_TAGS: dict[str, dict[str, Scalar | None]] = {
    "PBE": {"GGA": "PE"},
    "PBEsol": {"GGA": "PS"},
    "PBE-D3BJ": {"GGA": "PE", "IVDW": 12},
    "optB88-vdW": {"GGA": "BO", "PARAM1": 0.1833333333, "PARAM2": 0.22, "AGGAC": 0.0, "LUSE_VDW": True},
    "optB86b-vdW": {"GGA": "MK", "PARAM1": 0.1234, "PARAM2": 1.0, "AGGAC": 0.0, "LUSE_VDW": True},
    "rev-vdW-DF2": {
        "GGA": "MK",
        "PARAM1": 0.1234,
        "PARAM2": 0.711357,
        "ZAB_VDW": -1.8867,
        "AGGAC": 0.0,
        "LUSE_VDW": True,
    },
    "r2SCAN": {"GGA": None, "METAGGA": "R2SCAN", "ALGO": "All"},
    "r2SCAN+rVV10": {
        "GGA": None,
        "METAGGA": "R2SCAN",
        "ALGO": "All",
        "LUSE_VDW": True,
        "BPARAM": 11.95,
        "CPARAM": 0.0093,
    },
}
