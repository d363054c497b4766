"""CHGNet, a universal interatomic potential with magnetic moments."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from hts_flows.engines._ase import PotentialEngine
from hts_flows.engines._packages import package_versions, require_modules

if TYPE_CHECKING:
    from hts_flows.engines._chgnet_maker import CHGNetMaker


class CHGNet(PotentialEngine):
    """CHGNet 0.3.0 (Deng et al., Nat. Mach. Intell. 5, 1031 (2023)), weights in the wheel.

    Quick, and it gives magnetic moments; for graphite intercalation prefer ``sevennet``: CHGNet binds Na.
    """

    install_hint: ClassVar[str] = "in a clone of hts_flows: pip install torch==2.13.0 --editable '.[chgnet]'"

    engine: Literal["chgnet"] = Field(default="chgnet", description="Name of the engine")

    def check(self) -> None:
        """Find out whether CHGNet, and D3 where it is wanted, are installed."""
        modules = ("torch", "chgnet") if self.dispersion is False else ("torch", "chgnet", "dftd3")
        require_modules("chgnet", modules, self.install_hint)

    def versions(self) -> dict[str, str]:
        """Versions of CHGNet, D3, PyTorch and ASE."""
        return package_versions("chgnet", *(("dftd3",) if self.dispersion else ()), "torch", "ase", "atomate2")

    def maker(self) -> CHGNetMaker:
        """Give the Maker."""
        from hts_flows.engines._chgnet_maker import CHGNetMaker

        return CHGNetMaker(
            name=f"CHGNet {self.task}",
            dispersion=self.dispersion is True,
            threads=self.threads,
            device=self.device,
            **self.maker_options(),
        )

    def estimate_seconds(self, n_atoms: int) -> float:
        """Estimate from what was measured: 0.012 s an atom and force call on one core, 7–15 calls a relaxation."""
        return 0.5 + 0.012 * n_atoms * (1 if self.task == "static" else 5 + n_atoms / 2)
