"""Parts of the documentation that are made from the code when the site is built, so that they cannot go stale.

A page says ``<!-- generated: NAME ARGUMENTS -->`` where a part belongs; :data:`PARTS` lists the names. MkDocs calls the
``on_…`` functions; the tests call the others.
"""  # noqa: INP001 (MkDocs loads it as a file)

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
#: Files of the project's root that are pages of the site too.
ROOT_PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
MARKER = re.compile(r"^<!-- generated: ([a-z-]+)((?: [\w.]+)*) -->$", re.MULTILINE)
EXTERNAL = re.compile(
    r"<(?:script|img|iframe)[^>]*\ssrc=\"?https?:|<link[^>]*stylesheet[^>]*https?:|<link[^>]*preconnect"
)

_TYPES = {
    "string": "text",
    "number": "number",
    "integer": "whole number",
    "boolean": "true or false",
    "null": "nothing",
}
_FORMATS = {"path": "path", "password": "text (secret)", "date-time": "time"}
_BOUNDS = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are files of the project's root."""
    from mkdocs.structure.files import File

    for source, page in ROOT_PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8").replace("](docs/", "](")
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Fill in the generated parts of a page."""
    del page, config, files
    return fill(markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuse a page that would load something from the network."""
    from mkdocs.exceptions import PluginError

    del config
    if found := EXTERNAL.search(output):
        raise PluginError(f"{page.file.src_uri} loads from the network: {found.group()}")
    return output


def fill(markdown: str) -> str:
    """Replace every marker by what it stands for.

    Raises
    ------
    KeyError
        A marker names no part.
    """
    return MARKER.sub(lambda match: PARTS[match[1]](*match[2].split()), markdown)


# ---------------------------------------------------------------------------------------------------- models


def fields(path: str, *leave_out: str) -> str:
    """Table of what can be written for a pydantic model.

    Parameters
    ----------
    path
        Importable name of the model.
    leave_out
        Fields that are explained elsewhere.
    """
    return field_table(load(path), leave_out)


def document(path: str, *leave_out: str) -> str:
    """Table of what is stored of a pydantic model; parameters as for :func:`fields`."""
    return document_table(load(path), leave_out)


def load(path: str) -> type[BaseModel]:
    """Import a model by its full name."""
    module, _, name = path.rpartition(".")
    model: type[BaseModel] = getattr(import_module(module), name)
    return model


def field_table(model: type[BaseModel], leave_out: tuple[str, ...] = ()) -> str:
    """Table of key, type, default, bounds and meaning, for what people write."""
    rows = [
        (f"`{name}`", kind(part), default(field, part), allowed(part), _meaning(field))
        for name, field, part in _parts(model, leave_out)
    ]
    return table(("key", "type", "default", "allowed", "meaning"), rows)


def document_table(model: type[BaseModel], leave_out: tuple[str, ...] = ()) -> str:
    """Table of field, type and meaning, for what is read."""
    rows = [
        (f"`{name}`", ", ".join(filter(None, (kind(part), allowed(part)))) + _may_be_missing(part), _meaning(field))
        for name, field, part in _parts(model, leave_out)
    ]
    return table(("field", "type", "meaning"), rows)


def _parts(model: type[BaseModel], leave_out: tuple[str, ...]) -> Iterator[tuple[str, FieldInfo, dict[str, Any]]]:
    schema = model.model_json_schema()
    for name, field in model.model_fields.items():
        if name not in leave_out:
            yield name, field, schema["properties"].get(name, {})


def _may_be_missing(part: dict[str, Any]) -> str:
    return "; or nothing" if {"type": "null"} in part.get("anyOf", []) else ""


def kind(part: dict[str, Any]) -> str:
    """Type of a value in the words of a YAML file."""
    if "$ref" in part:
        return part["$ref"].rpartition("/")[2]
    if options := part.get("anyOf") or part.get("allOf"):
        named = [kind(option) for option in options if not _choices(option) and option.get("type") != "null"]
        named += [choice for option in options for choice in _choices(option)]
        return " or ".join(dict.fromkeys(named))
    if _choices(part):
        return "one of"
    if part.get("type") == "array":
        return f"list of {kind(part['items'])}" if "items" in part else "list"
    if part.get("type") == "object":
        return "mapping"
    return _FORMATS.get(part.get("format", ""), _TYPES.get(part.get("type", ""), "structure"))


def _choices(part: dict[str, Any]) -> list[str]:
    return [f"`{_yaml(value)}`" for value in part.get("enum", [part["const"]] if "const" in part else [])]


def allowed(part: dict[str, Any]) -> str:
    """Bounds and choices of a value, those of list entries included."""
    found = _choices(part)
    for option in [part, *part.get("anyOf", []), *part.get("allOf", [])]:
        found += [f"{sign} {option[name]:g}" for name, sign in _BOUNDS.items() if name in option]
        if "pattern" in option:
            found.append(f"`{option['pattern']}`")
        if "minItems" in option:
            found.append(f"at least {option['minItems']}")
    inner = part.get("items")
    if isinstance(inner, dict) and (of_entries := allowed(inner)):
        found.append(of_entries)
    return ", ".join(dict.fromkeys(found))


def default(field: FieldInfo, part: dict[str, Any]) -> str:
    """Value that is used when a key is left out."""
    if field.is_required():
        return "required"
    if isinstance(part.get("default"), str) and part["default"]:
        return f"`{part['default']}`"  # as it is written in a file, where that differs: 00:15:00 for 900 s
    factory = field.default_factory
    if isinstance(field.default, BaseModel) or (inspect.isclass(factory) and issubclass(factory, BaseModel)):
        return "empty"
    if field.default is not PydanticUndefined:
        return "" if field.default in (None, "") else f"`{_yaml(field.default)}`"
    if factory in (list, dict):
        return "`[]`" if factory is list else "`{}`"
    return (inspect.getdoc(factory) or "computed").partition("\n")[0].rstrip(".").replace("``", "`")


def _meaning(field: FieldInfo) -> str:
    """Description of a field, else the first line of the docstring of the model it holds."""
    from typing import get_args

    if field.description:
        return field.description
    for item in (field.annotation, *get_args(field.annotation)):
        if inspect.isclass(item) and issubclass(item, BaseModel):
            return (inspect.getdoc(item) or "").partition("\n")[0]
    return ""


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Markdown table; columns that are empty in every row are left out."""
    used = [n for n in range(len(header)) if any(row[n] for row in rows)]
    lines = [[header[n] for n in used], ["---"] * len(used)]
    lines += [[_cell(row[n]) for n in used] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _cell(text: str) -> str:
    outside = re.split(r"(`[^`]*`)", text.replace("\n", " ").replace("|", "\\|"))
    # An axis and a plane, [001](210), are no link.
    special = r"([<*]|\[(?=-?\d[\d -]*\]\())"
    return "".join(part if part.startswith("`") else re.sub(special, r"\\\1", part) for part in outside)


# --------------------------------------------------------------------------------------- engines and domains


def engines() -> str:
    """One section an engine: what it is, how to install it, its settings."""
    from hts_flows.engines import engine_class, engine_names

    return "\n\n".join("\n\n".join(_engine(engine_class(name))) for name in engine_names())


def _engine(engine: Any) -> Iterator[str]:
    summary, _, rest = (inspect.getdoc(engine) or "").partition("\n\n")
    yield f"### {engine.model_fields['engine'].default}"
    yield summary
    if rest:
        yield re.sub(r"``", "`", rest)
    yield f"Install: {_code(engine.install_hint)}"
    yield field_table(engine)
    if engine.not_hashed:
        names = ", ".join(f"`{name}`" for name in sorted(engine.not_hashed & set(engine.model_fields)))
        yield f"Changing {names} does not make a new result: the numbers stay the same."


def _code(hint: str) -> str:
    return re.sub(r"<|\*", lambda match: "\\" + match[0], hint)


def candidate_spaces() -> str:
    """One section a domain: the keys of its ``candidates:`` section."""
    from hts_flows.flows import domain_names, get_domain

    parts = []
    for name in domain_names():
        space = get_domain(name).space
        if space is not None:
            parts.append(f"### domain: {name}\n\n{_first(space)}\n\n{field_table(space)}")
    return "\n\n".join(parts)


def property_documents() -> str:
    """One section a domain: its property document."""
    from hts_flows.flows import domain_names, get_domain

    parts = []
    for name in domain_names():
        properties = get_domain(name).properties
        if properties is not None:
            parts.append(f"### {name}\n\n{_first(properties)}\n\n{document_table(properties)}")
    return "\n\n".join(parts)


def _first(item: Any) -> str:
    return (inspect.getdoc(item) or "").partition("\n\n")[0].replace("``", "`")


def failure_causes() -> str:
    """Every cause of failure, its remedy, and whether an unchanged resubmission can help."""
    from hts_flows.launch.failures import REMEDIES

    rows = [
        (f"`{cause.value}`", remedy.text, "yes" if remedy.retryable else "no") for cause, remedy in REMEDIES.items()
    ]
    return table(("cause", "what to do", "can succeed unchanged"), rows)


def inventory(kind: str, *names: str) -> str:
    """Entries of an inventory, with these of their fields."""
    from hts_flows.inventories import Inventories

    entries = getattr(Inventories(), kind).values()
    return table(names, [tuple(str(getattr(entry, name)) for name in names) for entry in entries])


# ------------------------------------------------------------------------------------- settings and commands


def settings() -> str:
    """Table of the settings with their environment variables."""
    from hts_flows.settings import ENV_PREFIX, FILE_ONLY, Settings

    schema = Settings.model_json_schema()
    rows = []
    for name, field in Settings.model_fields.items():
        part = schema["properties"][name]
        variable = "" if name in FILE_ONLY else f"`{ENV_PREFIX}{name.upper()}`"
        rows.append((f"`{name}`", variable, kind(part), default(field, part), allowed(part), field.description or ""))
    return table(("in the file", "in the environment", "type", "default", "allowed", "meaning"), rows)


def commands() -> str:
    """One section a command: usage, arguments, options, example."""
    from typer.main import get_command

    from hts_flows.cli.main import app

    return "\n\n".join(_command(path, command) for path, command in leaf_commands(get_command(app)))


def leaf_commands(command: Any, path: tuple[str, ...] = ("hts",)) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every command that does something, with the words that call it."""
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, inner in command.commands.items():
        yield from leaf_commands(inner, (*path, name))


def _command(path: tuple[str, ...], command: Any) -> str:
    arguments = [param for param in command.params if param.param_type_name == "argument"]
    options = [param for param in command.params if param.param_type_name == "option"]
    words = [argument.name.upper() if argument.required else f"[{argument.name.upper()}]" for argument in arguments]
    usage = " ".join([*path, *(["[OPTIONS]"] if options else []), *words])
    rows = [_parameter(param) for param in [*arguments, *options]]
    parts = [f"## {' '.join(path)}", command.help or "", f"```text\n{usage}\n```"]
    parts += [table(("parameter", "default", "meaning"), rows)] if rows else []
    parts += [f"Example: `{command.epilog.removeprefix('Example: ')}`"] if command.epilog else []
    return "\n\n".join(parts)


def _parameter(param: Any) -> tuple[str, str, str]:
    name = param.name.upper() if param.param_type_name == "argument" else " ".join(param.opts)
    choices = [member.value for member in type(param.default)] if isinstance(param.default, Enum) else []
    notes = [f"One of {', '.join(f'`{choice}`' for choice in choices)}."] if choices else []
    notes += ["Required."] if param.required and param.param_type_name == "option" else []
    value = getattr(param.default, "value", param.default)
    shown = f"`{value}`" if isinstance(value, str | int | float) and not isinstance(value, bool) else ""
    return f"`{name}`", shown, " ".join([param.help or "", *notes])


PARTS: dict[str, Callable[..., str]] = {
    "fields": fields,
    "document": document,
    "engines": engines,
    "candidate-spaces": candidate_spaces,
    "property-documents": property_documents,
    "failure-causes": failure_causes,
    "inventory": inventory,
    "settings": settings,
    "commands": commands,
}
