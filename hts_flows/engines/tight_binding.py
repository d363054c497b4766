"""Second-moment tight binding: a potential for fcc metals that is thousands of times faster than the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from hts_flows.engines._ase import AseEngine, Optimizer
from hts_flows.engines._packages import package_versions, require_modules

if TYPE_CHECKING:
    from hts_flows.engines._second_moment_relaxation import evaluate, relax
    from hts_flows.engines._tight_binding_maker import TightBindingMaker

__all__ = ["TightBinding", "evaluate", "relax"]

INSTALL_HINT = "in a clone of hts_flows: pip install --editable '.[tight-binding]'"


def require_numba() -> None:
    """Check that the compiler of the potential is installed, without loading it.

    Raises
    ------
    EngineNotAvailableError
        With what to type.
    """
    require_modules("tight_binding", ("numba",), INSTALL_HINT)


def __getattr__(name: str) -> Any:
    """Give :func:`relax` and :func:`evaluate`, which load numba, when they are asked for."""
    if name not in {"evaluate", "relax"}:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require_numba()
    from hts_flows.engines import _second_moment_relaxation

    return getattr(_second_moment_relaxation, name)


class TightBinding(AseEngine):
    """Second-moment potential of Cleri and Rosato (Phys. Rev. B 48, 22 (1993)).

    For Ni, Cu, Rh, Pd, Ag, Ir, Pt, Au, Al and Pb, one metal at a time. Interactions reach to the fifth shell of the
    crystal, as in the fit of the parameters, and are switched off before the sixth by a polynomial with continuous
    second derivatives. To search among thousands of configurations in one process, call
    ``hts_flows.engines.tight_binding.relax`` (or ``evaluate``, which relaxes nothing).
    """

    install_hint: ClassVar[str] = INSTALL_HINT
    packed: ClassVar[bool] = True
    never_gives: ClassVar[frozenset[str]] = frozenset(
        {"thermal_conductivity", "translation_search", "magnetic_moments", "band_gap", "band_structure"}
    )

    engine: Literal["tight_binding"] = Field(default="tight_binding", description="Name of the engine")
    potential: Literal["cleri-rosato"] = Field(default="cleri-rosato", description="Set of parameters")
    optimizer: Optimizer = Field(
        default="LBFGS", description="Optimizer of ASE; BFGS takes longer than the forces from some hundred atoms on"
    )

    def check(self) -> None:
        """Find out whether numba is installed."""
        require_numba()

    @property
    def is_selective(self) -> bool:
        """Whether there are compositions that it refuses."""
        return True

    def refuses(self, formula: str) -> str | None:
        """Say that there are no parameters, or that the composition is no single metal."""
        from pymatgen.core import Composition

        from hts_flows.engines._second_moment_parameters import parameters_for
        from hts_flows.errors import InputError

        try:
            parameters_for([element.symbol for element in Composition(formula).elements])
        except InputError as error:
            return f"{error.message}; {error.hint}"
        return None

    def versions(self) -> dict[str, str]:
        """Versions of numba, NumPy and ASE."""
        return package_versions("numba", "numpy", "ase", "atomate2")

    def maker(self) -> TightBindingMaker:
        """Give the Maker."""
        from hts_flows.engines._tight_binding_maker import TightBindingMaker

        return TightBindingMaker(name=f"Tight binding {self.task}", potential=self.potential, **self.maker_options())

    def estimate_seconds(self, n_atoms: int) -> float:
        """Estimate from what was measured: 10–20 ms a step of ASE and its records, of which forces are 1 µs an atom."""
        call = 0.015 + 2e-5 * n_atoms
        return 0.1 + call * (1 if self.task == "static" else 8 + n_atoms**0.5)
