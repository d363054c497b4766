"""YAML with line numbers, so that a message can say where in the file the mistake is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hts_flows.errors import InputError


@dataclass(frozen=True)
class YamlDocument:
    """A parsed file and the tree it was parsed from."""

    path: Path
    data: Any
    root: yaml.Node | None

    def line(self, place: tuple[str | int, ...]) -> int:
        """Line, from 1, of the deepest part of ``place`` that is in the file."""
        node, line = self.root, 1
        for part in place:
            found = None
            if isinstance(node, yaml.MappingNode):
                found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                found = (node.value[part], node.value[part])
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        return line

    def describe(self, place: tuple[str | int, ...], message: str) -> str:
        """Put file, line and key before a message."""
        key = "".join(f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in place).lstrip(".")
        return f"{self.path}, line {self.line(place)}: {key + ': ' if key else ''}{message}"


def read_yaml(path: Path) -> YamlDocument:
    """Read a YAML file.

    Raises
    ------
    InputError
        Missing, unreadable, not YAML (with line and column), or a key that is given twice.
    """
    if not path.exists():
        near = sorted(file.name for file in path.parent.glob("*.y*ml")) if path.parent.is_dir() else []
        there = f"; in {path.parent} there are: {', '.join(near)}" if near else ""
        raise InputError(
            f"campaign file not found: {path}{there}", "give the path of a file such as workflows/NAME.yaml"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}", "give a YAML text file") from error
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        reason = " ".join(filter(None, (getattr(error, "context", None), getattr(error, "problem", str(error)))))
        raise InputError(
            f"{path}{where}: not valid YAML: {reason}", "check indentation, colons and brackets near that line"
        ) from error
    document = YamlDocument(path, data, root)
    _refuse_duplicates(document, root)
    return document


def _refuse_duplicates(document: YamlDocument, node: yaml.Node | None) -> None:
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise InputError(
                    f"{document.path}, line {line}: key {key.value!r} is given twice (first in line {seen[key.value]})",
                    "keep one of the two",
                )
            seen[key.value] = line
            _refuse_duplicates(document, value)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_duplicates(document, item)
