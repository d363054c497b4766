"""Which packages are installed, found out without importing them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from hts_flows.errors import EngineNotAvailableError


def package_versions(*names: str) -> dict[str, str]:
    """Versions of installed distributions; one that is missing is left out."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def require_modules(engine: str, modules: tuple[str, ...], hint: str) -> None:
    """Check that modules can be imported, without importing them.

    Parameters
    ----------
    engine
        Name of the engine, for the message.
    modules
        Top-level modules it needs.
    hint
        What to type to install them.

    Raises
    ------
    EngineNotAvailableError
        At least one is missing.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise EngineNotAvailableError(f"engine {engine!r} needs {', '.join(missing)}, not installed here", hint)
