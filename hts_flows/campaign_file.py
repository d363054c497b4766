"""YAML with line numbers, so that a message can say where in the file the mistake is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hts_flows.errors import InputError

#: How many values may stand inside one another.
MAX_DEPTH = 50
#: How many values YAML aliases (``*name``) may repeat in one file.
MAX_REPEATED = 100_000
_TOO_DEEP = f"values stand more than {MAX_DEPTH} deep inside one another"


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
                found = next(((key, value) for key, value in reversed(node.value) if key.value == str(part)), None)
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
        Missing, unreadable, or not what :func:`parse_yaml` takes.
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
    root, data = parse_yaml(text, str(path))
    return YamlDocument(path, data, root)


def parse_yaml(text: str, source: str) -> tuple[yaml.Node | None, Any]:
    """Parse YAML text into its tree and its data.

    Parameters
    ----------
    text
        One YAML document.
    source
        Where the text is from, for messages.

    Raises
    ------
    InputError
        Not YAML (with line and column), a key that is given twice, a value that holds itself, values that stand more
        than :data:`MAX_DEPTH` deep, or more than :data:`MAX_REPEATED` values repeated by aliases.
    """
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is not None:
            _check_tree(source, root)
        # From the tree, after its check: an alias that is repeated without end is never followed.
        data = yaml.SafeLoader("").construct_document(root) if root is not None else None
    except yaml.YAMLError as error:
        mark, begun = getattr(error, "problem_mark", None), getattr(error, "context_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        context = getattr(error, "context", None)
        if context and mark and begun and begun.line != mark.line:
            context += f" begun in line {begun.line + 1},"
        reason = " ".join(filter(None, (context, getattr(error, "problem", None)))) or str(error)
        raise InputError(
            f"{source}{where}: not valid YAML: {reason}", "check indentation, colons and brackets near that line"
        ) from error
    except RecursionError as error:
        raise InputError(f"{source}: {_TOO_DEEP}", "check for brackets that are not closed") from error
    except (ValueError, LookupError, AttributeError, TypeError, OverflowError) as error:
        # How PyYAML reports a date such as 2024-13-45 or a tag that does not fit its value.
        raise InputError(
            f"{source}: holds a value that YAML cannot read: {error}",
            "put dates, very long numbers and text that looks like them in quotes; leave out tags (!!…)",
        ) from error
    return root, data


def _check_tree(source: str, root: yaml.Node) -> None:
    """Refuse keys given twice, and aliases that make a file endless or very large."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node, depth: int) -> int:
        where = f"{source}, line {node.start_mark.line + 1}"
        if id(node) in open_nodes:
            raise InputError(f"{where}: this value holds itself, by an alias (*name)", "write it out without the alias")
        if depth > MAX_DEPTH:
            raise InputError(f"{where}: {_TOO_DEEP}", "check for brackets that are not closed")
        if id(node) not in sizes:
            open_nodes.add(id(node))
            children: list[yaml.Node] = []
            if isinstance(node, yaml.MappingNode):
                _refuse_duplicates(source, node)
                children = [part for pair in node.value for part in pair]
            elif isinstance(node, yaml.SequenceNode):
                children = node.value
            sizes[id(node)] = 1 + sum(size(child, depth + 1) for child in children)
            open_nodes.remove(id(node))
        return sizes[id(node)]

    if (repeated := size(root, 0) - len(sizes)) > MAX_REPEATED:
        raise InputError(
            f"{source}: aliases (*name) repeat {repeated:,} values, more than {MAX_REPEATED:,}",
            "write the values out, without aliases",
        )


def _refuse_duplicates(source: str, node: yaml.MappingNode) -> None:
    seen: dict[str, int] = {}
    for key, _ in node.value:
        if not isinstance(key, yaml.ScalarNode):
            continue
        line = key.start_mark.line + 1
        if key.value in seen:
            raise InputError(
                f"{source}, line {line}: key {key.value!r} is given twice (first in line {seen[key.value]})",
                "keep one of the two",
            )
        seen[key.value] = line
