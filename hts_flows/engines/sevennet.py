"""SevenNet, a universal interatomic potential trained on PBE, with D3(BJ) dispersion for layered systems."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hts_flows.engines._ase import PotentialEngine
from hts_flows.engines._packages import package_versions, require_modules

if TYPE_CHECKING:
    from hts_flows.engines._sevennet_maker import SevenNetMaker


class SevenNet(PotentialEngine):
    """SevenNet-0 (Park et al., J. Chem. Theory Comput. 20, 4857 (2024)) or SevenNet-l3i5, weights in the wheel.

    ``fmax`` 0.02 eV/Å brings c of graphite, MoS2, LiC6 and NaC8 to within 0.6 % and energies to within 0.1 meV/atom of
    their limits; noise of the potential (single precision) sets in near 0.002 eV/Å.
    """

    install_hint: ClassVar[str] = "in a clone of hts_flows: pip install torch==2.13.0 --editable '.[sevennet]'"

    engine: Literal["sevennet"] = Field(default="sevennet", description="Name of the engine")
    model: Literal["7net-0", "7net-l3i5"] = Field(
        default="7net-0", description="7net-0, or the 2.5 times slower and more accurate 7net-l3i5"
    )

    def check(self) -> None:
        """Find out whether SevenNet, and D3 where it is wanted, are installed."""
        modules = ("torch", "sevenn") if self.dispersion is False else ("torch", "sevenn", "dftd3")
        require_modules("sevennet", modules, self.install_hint)

    def versions(self) -> dict[str, str]:
        """Versions of SevenNet, D3, PyTorch and ASE."""
        return package_versions("sevenn", *(("dftd3",) if self.dispersion else ()), "torch", "ase", "atomate2")

    def maker(self) -> SevenNetMaker:
        """Give the Maker."""
        from hts_flows.engines._sevennet_maker import SevenNetMaker

        return SevenNetMaker(
            name=f"SevenNet {self.task}",
            model=self.model,
            dispersion=self.dispersion is True,
            threads=self.threads,
            device=self.device,
            **self.maker_options(),
        )

    def estimate_seconds(self, n_atoms: int) -> float:
        """Estimate from what was measured: 0.013 s an atom and force call on one core, 5–13 calls a relaxation."""
        call = (0.013 if self.model == "7net-0" else 0.035) * n_atoms
        return 0.5 + call * (1 if self.task == "static" else 5 + n_atoms / 2)
