"""What the documentation says is true: its code runs, its campaigns are valid, its commands, links and files exist."""

from __future__ import annotations

import re
import shlex
import uuid

import pytest
import yaml
from docs_pages import PAGES, ROOT, blocks

TOP_FOLDERS = "hts_flows|tests|docs|workflows|inventories|requirements|.ci"
#: What the documentation tells people to make.
PLACEHOLDERS = re.compile(r"NAME|FILE|emt\.py|alloys\.py")
LINK = re.compile(r"(?<![`\\])\[[^\]]*(?<!\\)\]\(([^)\s]+)\)")
CODE = re.compile(r"`([^`\n]+)`")


def commands(language="console"):
    """Every command line of the console blocks, as words without ``VARIABLE=value`` in front."""
    found = []
    for page in PAGES:
        for block in blocks(page):
            for line in block.code.splitlines() if block.language == language else ():
                words = shlex.split(line, comments=True)
                while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
                    words = words[1:]
                if words:
                    found.append((block.place, words))
    return found


def hts_commands():
    return [(place, words[1:]) for place, words in commands() if words[0].rpartition("/")[2] == "hts"]


def parse(words):
    """Parse an ``hts`` command line as the command does, without running it; gives its parameters."""
    from typer.main import get_command

    from hts_flows.cli.main import app

    command, name, parent = get_command(app), "hts", None
    while True:
        context = command.make_context(name, list(words), parent=parent)
        left = [*context._protected_args, *context.args]
        if not hasattr(command, "commands") or (command.invoke_without_command and not left):
            return context.params
        name, command, words = command.resolve_command(context, left)
        parent = context


# ------------------------------------------------------------------------------------------------- Python


@pytest.fixture(scope="module")
def stored(mongod, tmp_path_factory):
    """A database with a small campaign, computed for real, under the names that the pages use."""
    pytest.importorskip("sevenn", reason="SevenNet is not installed: pip install --editable '.[sevennet]'")
    from hts_flows.campaign import Campaign
    from hts_flows.launch.worker import work
    from hts_flows.settings import load_settings
    from hts_flows.stores import connect
    from hts_flows.stores.campaigns import save_campaign

    candidates = {"hosts": ["graphite"], "intercalants": ["Li", "K"], "concentrations": ["1/6"]}
    content = {"candidates": {"domain": "intercalation"} | candidates}
    content["calculate"] = [{"engine": "sevennet", "task": "static"}]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("docs"))
        patch.setenv("HTS_DATABASE", f"docs_{uuid.uuid4().hex[:12]}")
        database = connect()
        for name in ("graphite_alkali", "my_campaign"):
            save_campaign(database, Campaign.from_dict({"name": name} | content))
            work(database, name, load_settings())
        assert database.results.count_documents({"state": "done"}) == 2 + 3  # compounds; graphite, Li, K
        yield database
        database.mongo.client.drop_database(database.mongo.name)


def runnable(page):
    return [block for block in blocks(page) if block.language == "python" and not block.title and not block.not_run]


@pytest.mark.parametrize("page", [page for page in PAGES if runnable(page)], ids=lambda page: page.name)
def test_the_python_of_a_page_runs_from_top_to_bottom(page, stored, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "page"}
    for block in runnable(page):
        # Compiled with the block's place, so that a traceback leads to the page.
        lines = "\n" * block.line + block.code
        exec(compile(lines, str(block.page), "exec"), names)  # noqa: S102 (our own pages)


def test_fields_of_conditions_and_sorting_exist(stored):
    from hts_flows.stores.results import field_paths, parse_condition

    paths = field_paths(stored, "graphite_alkali")
    checked = 0
    for _, words in hts_commands():
        parameters = parse(words)
        for condition in parameters.get("where") or ():
            parse_condition(condition, paths)
            checked += 1
        if parameters.get("sort"):
            assert parameters["sort"].lstrip("-") in paths
            checked += 1
    assert checked > 5


# --------------------------------------------------------------------------------------------------- YAML


def test_campaigns_are_valid_and_give_candidates(all_blocks):
    from hts_flows.campaign import Campaign

    count = 0
    for block in all_blocks:
        data = yaml.safe_load(block.code) if block.language == "yaml" else None
        if data is None or "candidates" not in data or data["candidates"]["domain"] == "alloys":
            continue  # alloys are a worked example with a test of its own
        assert Campaign.from_dict(data, block.place).all_candidates(), block.place
        count += 1
    assert count >= 4


def test_settings_files_are_valid(all_blocks):
    from hts_flows.settings import Settings

    shown = [block for block in all_blocks if block.title == "settings.yaml"]
    assert shown
    for block in shown:
        Settings(**yaml.safe_load(block.code))


def test_the_shown_output_of_check_is_what_check_says(all_blocks, hts, tmp_path):
    first, shown = (
        next(block.code for block in all_blocks if block.title == "my_campaign.yaml"),
        next(block.code for block in all_blocks if block.code.startswith("my_campaign: my_campaign.yaml is valid")),
    )
    (tmp_path / "my_campaign.yaml").write_text(first)
    said = hts("check", "my_campaign.yaml").stdout
    counted = [line for line in shown.splitlines() if "candidates " in line]
    assert counted
    assert counted[0] in said


def test_the_shown_mistake_is_what_check_says(all_blocks, hts, tmp_path):
    first = next(block.code for block in all_blocks if block.title == "my_campaign.yaml")
    shown = next(block.code for block in all_blocks if block.code.startswith("error: my_campaign.yaml"))
    (tmp_path / "my_campaign.yaml").write_text(first.replace("engine: sevennet ", "engine: sevenet "))
    assert hts("check", "my_campaign.yaml").stderr == shown


# ------------------------------------------------------------------------------------------------ commands


@pytest.mark.parametrize(
    ("place", "words"), hts_commands(), ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_a_command_line_can_be_typed(place, words):
    parameters = parse(words)
    if parameters.get("cause"):
        from hts_flows.launch.failures import FailureCause

        FailureCause(parameters["cause"])
    for edit in parameters.get("edits") or ():
        from hts_flows.engines import engine_class, engine_names

        setting = edit.partition("=")[0]
        assert any(setting in engine_class(name).model_fields for name in engine_names()), place


@pytest.mark.parametrize(
    "wrong", [["runn"], ["run"], ["run", "a.yaml", "--wrokers", "2"], ["results", "a", "--limit", "x"]]
)
def test_a_command_line_that_cannot_be_typed_is_found(wrong):
    with pytest.raises(Exception, match=r"[Nn]o such|[Mm]issing|[Ii]nvalid|valid integer"):
        parse(wrong)


def test_every_make_target_that_is_named_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    named = [(place, words[1]) for place, words in commands() if words[0] == "make"]
    assert named
    for place, target in named:
        assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), f"{place}: make {target}"


def test_every_command_is_in_the_reference(reference):
    from typer.main import get_command

    from hts_flows.cli.main import app

    text = reference.commands()
    paths = [" ".join(path) for path, _ in reference.leaf_commands(get_command(app))]
    assert {"hts run", "hts db backup"} <= set(paths)
    assert all(f"## {path}\n" in text for path in paths)


# ---------------------------------------------------------------------------------------- links and names


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_somewhere(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in LINK.findall(text):
        path, _, _ = target.partition("#")
        if "://" in target or not path:
            continue
        generated = {"contributing.md": ROOT / "CONTRIBUTING.md", "changelog.md": ROOT / "CHANGELOG.md"}
        place = generated.get(path, page.parent / path) if page.parent.name == "docs" else page.parent / path
        assert place.exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_named_files_exist(page):
    for code in CODE.findall(page.read_text(encoding="utf-8")):
        if re.fullmatch(rf"({TOP_FOLDERS})/[\w./-]*", code) and not PLACEHOLDERS.search(code):
            assert (ROOT / code).exists(), f"{page.name}: {code}"


def test_commands_run_on_files_that_exist_or_that_a_page_shows(all_blocks):
    shown = {block.title for block in all_blocks}
    for place, words in hts_commands():
        for word in words:
            if word.endswith(".yaml"):
                assert word in shown or (ROOT / word).is_file(), f"{place}: {word}"


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f": {page.name}\n" in text, page.name


# ----------------------------------------------------------------------------------- generated reference


@pytest.fixture(scope="module")
def built(reference):
    """The pages with their generated parts."""
    return {page.stem: reference.fill(page.read_text(encoding="utf-8")) for page in PAGES}


def models():
    """Every model that people write or read, with the page that explains it."""
    from hts_flows.boundary_inventory import Boundary
    from hts_flows.campaign import Campaign
    from hts_flows.engines import Calculation, engine_class, engine_names
    from hts_flows.flows import domain_names, get_domain
    from hts_flows.inventories import Compound, ElementPhase, Host, Intercalant, LatticeParameters
    from hts_flows.ladder import LadderRow, Promotion
    from hts_flows.screen import Filters, Screen, Stop
    from hts_flows.settings import Settings
    from hts_flows.stores.results import Attempt, Failure, Provenance, Result
    from hts_flows.structures.grain_boundaries import BicrystalCell, TranslationGrid

    domains = [get_domain(name) for name in domain_names()]
    spaces = [domain.space for domain in domains if domain.space]
    documents = [domain.properties for domain in domains if domain.properties]
    engines = [engine_class(name) for name in engine_names()]
    sections = [Campaign, LadderRow, Promotion, Screen, Filters, Stop]
    yield from (("campaign_file", model) for model in [*sections, *spaces, *engines])
    yield from (("results", model) for model in [Result, Provenance, Failure, Attempt, Calculation, *documents])
    entries = [Host, Intercalant, ElementPhase, Compound, LatticeParameters, Boundary]
    yield from (("inventories", model) for model in entries)
    yield from (("grain_boundaries", model) for model in [BicrystalCell, TranslationGrid])
    yield ("settings", Settings)


@pytest.mark.parametrize(("page", "model"), models(), ids=lambda value: getattr(value, "__name__", value))
def test_the_reference_names_every_field(page, model, built, reference):
    table = reference.field_table(model)
    text = built[page]
    for name, field in model.model_fields.items():
        row = next(line for line in table.splitlines() if line.startswith(f"| `{name}` |"))
        assert field.is_required() == ("required" in row)
        assert re.search(rf"^\| `{name}` \|", text, re.MULTILINE), f"{model.__name__}.{name}"


def test_the_reference_gives_bounds_choices_and_defaults(built):
    text = built["campaign_file"]
    row = next(line for line in text.splitlines() if line.startswith("| `cutoff` | number | `400` |"))
    assert "≥ 150, ≤ 2000" in row
    assert "eV" in row
    assert "`relax`, `static`" in text
    assert "`1T-TiS2`" in built["inventories"] or "| 1T-TiS2 |" in built["inventories"]


def test_no_marker_is_left_and_an_unknown_one_is_an_error(built, reference):
    assert not [page for page, text in built.items() if "<!-- generated" in text]
    with pytest.raises(KeyError):
        reference.fill("<!-- generated: nothing -->")


def test_a_page_that_loads_from_the_network_is_found(reference):
    assert reference.EXTERNAL.search('<script src="https://cdn.example.org/x.js">')
    assert reference.EXTERNAL.search('<link rel="stylesheet" href="https://fonts.example.org/css">')
    assert not reference.EXTERNAL.search('<a href="https://pymatgen.org">pymatgen</a><script src="assets/x.js">')
