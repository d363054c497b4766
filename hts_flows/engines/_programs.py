"""Find programs and data of licensed or separately installed engines."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

import yaml

from hts_flows.errors import EngineNotAvailableError

#: atomate2's defaults, read here without importing atomate2 (2 s).
DEFAULT_COMMANDS = {"VASP_CMD": "vasp_std", "CP2K_CMD": "cp2k.psmp"}


def _read_yaml(path: Path) -> dict:
    if not path.is_file():
        return {}
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}


def atomate2_command(setting: str) -> str:
    """Command of a program as atomate2 is configured: environment, then its YAML file, then its default.

    Parameters
    ----------
    setting
        "VASP_CMD" or "CP2K_CMD".
    """
    from_environment = os.environ.get(f"ATOMATE2_{setting}")
    file = Path(os.environ.get("ATOMATE2_CONFIG_FILE", "~/.atomate2.yaml")).expanduser()
    return from_environment or _read_yaml(file).get(setting) or DEFAULT_COMMANDS[setting]


def require_program(engine: str, command: str | None, setting: str, hint: str) -> None:
    """Check that the program of a command is on PATH.

    Both the first word (``srun``) and, unless it is an option, the last (``vasp_std``) must be found.

    Parameters
    ----------
    engine
        Name of the engine, for the message.
    command
        Command in the engine's settings; None for atomate2's.
    setting
        Name of atomate2's setting.
    hint
        What to do when it is missing.

    Raises
    ------
    EngineNotAvailableError
        It is not found.
    """
    words = shlex.split(command or atomate2_command(setting))
    programs = [words[0], *[word for word in words[-1:] if not word.startswith("-")]] if words else []
    missing = [os.path.expandvars(word) for word in programs if shutil.which(os.path.expandvars(word)) is None]
    if missing or not programs:
        what = ", ".join(repr(word) for word in dict.fromkeys(missing)) or "an empty command"
        raise EngineNotAvailableError(f"engine {engine!r} runs {' '.join(words)!r}, but {what} is not on PATH", hint)


def pymatgen_setting(name: str) -> str | None:
    """Setting of pymatgen: environment, then ``~/.config/.pmgrc.yaml`` (or PMG_CONFIG_FILE), without importing it."""
    file = Path(os.environ.get("PMG_CONFIG_FILE", "~/.config/.pmgrc.yaml")).expanduser()
    content = _read_yaml(file) or _read_yaml(Path("~/.pmgrc.yaml").expanduser())
    return os.environ.get(name) or content.get(name) or content.get(name.removeprefix("PMG_"))


def vasp_potentials() -> Path | None:
    """Folder of VASP's PAW potentials, when it is configured and exists."""
    folder = pymatgen_setting("PMG_VASP_PSP_DIR")
    return Path(folder) if folder and Path(folder).is_dir() else None


def cp2k_data() -> Path | None:
    """Folder of CP2K's basis sets and potentials as pymatgen reads them (one file an element), when it exists."""
    folder = os.environ.get("CP2K_DATA_DIR") or pymatgen_setting("PMG_CP2K_DATA_DIR")
    return Path(folder) if folder and (Path(folder) / "H").is_file() else None
