"""The campaign: the model of a file in ``workflows/``."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, ValidationError

from hts_flows.candidates import Candidate, CandidateSpace, stable_hash
from hts_flows.conditions import read_condition
from hts_flows.engines import Engine, engine_class, engine_names
from hts_flows.errors import InputError, nearest
from hts_flows.flows import Domain, domain_names, get_domain
from hts_flows.inventories import Inventories, InventoryName
from hts_flows.ladder import LadderRow, Level
from hts_flows.retry import RetryRule, check_cause, check_settings

if TYPE_CHECKING:
    from hts_flows.campaign_file import YamlDocument
    from hts_flows.properties.base import PropertyDoc
    from hts_flows.screen import Screen

#: How many parts of a place name a section that is validated by itself: candidates, or one row of the others.
SECTION_DEPTH: dict[str | int, int] = {"candidates": 1, "calculate": 2, "retry": 2}
#: Keys of a ``candidates:`` section that hold names of the inventory of the same name.
INVENTORY_KEYS: tuple[InventoryName, ...] = ("hosts", "intercalants", "compounds", "boundaries")
#: What is expected, for pydantic's kinds of error that say it in a programmer's words.
EXPECTED = {
    "list_type": "write a list, each entry on a line after '- ', or [in, brackets]",
    "dict_type": "write 'key: value' lines",
    "model_type": "write 'key: value' lines",
    "string_type": "not text; put it in quotes if it is",
    "int_type": "not a whole number",
    "int_parsing": "not a whole number",
    "int_from_float": "not a whole number",
    "float_type": "not a number",
    "float_parsing": "not a number",
    "finite_number": "not a finite number",
    "bool_type": "write true or false",
    "bool_parsing": "write true or false",
    "invalid_key": "a key must be text; put it in quotes if it is",
}
_LONGEST_VALUE = 80


class Problem(NamedTuple):
    """One thing wrong in a campaign."""

    path: tuple[str | int, ...]
    message: str
    value: Any = None


class CampaignError(InputError):
    """A campaign that cannot be used, with every problem found in it."""

    def __init__(self, problems: list[Problem], source: str = "campaign") -> None:
        self.problems = problems
        lines = [
            f"{source}: {'.'.join(map(str, problem.path)) or 'top level'}: {problem.message}" for problem in problems
        ]
        super().__init__("\n".join(lines), "correct the file, then try 'hts check FILE'")


class Campaign(BaseModel):
    """What a group wants computed: one file."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$",
        description="Name in the database: letters, digits, _ and - (at most 64)",
    )
    description: str = Field(default="", description="For people")
    inventories: str | None = Field(
        default=None, description="Folder of inventories, relative to the file; those of hts_flows when left out"
    )
    candidates: SerializeAsAny[CandidateSpace] = Field(description="What to generate; the keys depend on 'domain'")
    calculate: list[LadderRow] = Field(min_length=1, description="The ladder of engines, cheapest first")
    retry: dict[str, RetryRule] = Field(
        default={}, description="Failures that are resubmitted without asking: a cause, and what is done about it"
    )

    @classmethod
    def from_dict(cls, data: Any, source: str = "campaign") -> Campaign:
        """Validate a campaign, gathering every problem.

        Raises
        ------
        CampaignError
            With the place, the value and what is allowed for each problem.
        """
        if not isinstance(data, dict):
            raise CampaignError([Problem((), "expected 'key: value' lines with name, candidates, calculate")], source)
        problems: list[Problem] = []
        prepared = dict(data)
        if "candidates" in data:
            prepared["candidates"] = _read_candidates(data["candidates"], problems)
        rows = data.get("calculate")
        if isinstance(rows, list) and rows:
            prepared["calculate"] = [_read_row(row, number, problems) for number, row in enumerate(rows)]
        if "retry" in data:
            prepared["retry"] = _read_retry(data["retry"], problems)
        try:
            campaign = cls.model_validate(prepared)
        except ValidationError as error:
            # A section that was found wrong above is not told a second time, in vaguer words.
            told = {problem.path[: SECTION_DEPTH[problem.path[0]]] for problem in problems}
            problems += [
                found
                for found in problems_of(error, cls, ())
                if not any(found.path[: len(section)] == section for section in told)
            ]
            campaign = None
        if campaign is not None and not problems:
            problems += campaign._check_ladder()  # noqa: SLF001 (own method)
        if problems or campaign is None:
            raise CampaignError(sorted(problems, key=lambda problem: [str(part) for part in problem.path]), source)
        return campaign

    def _check_ladder(self) -> list[Problem]:
        problems = [Problem(*found) for found in check_settings(self.retry, [row.engine for row in self.calculate])]
        for number, row in enumerate(self.calculate):
            place = ("calculate", number)
            only = row.engine.domains
            if only is not None and self.domain.name not in only:
                message = f"{row.engine.engine} computes only candidates of {', '.join(sorted(only))}"
                problems.append(Problem((*place, "engine"), message))
            # Further rows go on from what the first has relaxed.
            if number == 0 and (refused := self.candidates.refuses(row.engine)):
                problems.append(Problem((*place, "engine"), refused, row.engine.engine))
            if row.engine.learns and not (row.screen and row.screen.train_on):
                message = "what is learnt is learnt from the training set of a search: give screen: {train_on: …, …}"
                problems.append(Problem(place, f"{row.engine.engine}: {message}"))
            if number == 0 and row.promote:
                message = "the first engine computes every candidate: leave 'promote' out"
                problems.append(Problem((*place, "promote"), message))
            if number > 0 and row.promote is None and row.screen is None:
                best = self.domain.headline.name if self.domain.headline else "energy"
                message = f"missing: say who goes up, e.g. promote: {{by: {best}, lowest: 2}}, or screen: …"
                problems.append(Problem((*place, "promote"), message))
            if row.promote:
                below = self.calculate[max(0, number - 1)].engine
                problems += self._check_number((*place, "promote", "by"), row.promote.by, below)
            if row.screen:
                problems += self._check_screen(number, row.screen)
        return problems

    def _check_number(self, place: tuple[str | int, ...], name: str, engine: Engine) -> list[Problem]:
        """Check that a property is one of the domain's, a number, and given by an engine."""
        document = self.domain.properties
        names = _numbers_of(document) if document else set()
        if name in names:
            return self._check_given(place, name, engine)
        if document and name in document.model_fields:
            allowed = ", ".join(sorted(names))
            return [Problem(place, f"{name!r} is not a number, so no candidate is the lowest; allowed: {allowed}")]
        return [Problem(place, f"{name!r} is no property of {self.domain.name}; {nearest(name, names)}")]

    def _check_given(self, place: tuple[str | int, ...], name: str, engine: Engine) -> list[Problem]:
        """Check that an engine gives a property of the domain."""
        document = self.domain.properties
        if document is None or document.needs.get(name) not in engine.never_gives:
            return []
        able = [one for one in engine_names() if document.needs[name] not in engine_class(one).never_gives]
        return [Problem(place, f"{engine.engine} does not compute {name!r}; engines that may: {', '.join(able)}")]

    def _check_screen(self, number: int, screen: Screen) -> list[Problem]:
        place, engine = ("calculate", number, "screen"), self.calculate[number].engine
        problems = self._check_number((*place, "by"), screen.by, engine)
        if screen.prior and not number:
            problems.append(Problem((*place, "prior"), "there is no row below whose property it could be"))
        elif screen.prior:
            problems += self._check_number((*place, "prior"), screen.prior, self.calculate[number - 1].engine)
        document = self.domain.properties
        names = set(document.model_fields) - {"schema_version"} if document else set()
        for position, text in enumerate(screen.require):
            there = (*place, "require", position)
            try:
                problems += self._check_given(there, read_condition(text, names).name, engine)
            except InputError as error:
                message = f"{error.message}; {error.hint}" if error.hint else error.message
                problems.append(Problem(there, message, text))
        return problems

    def unknown_names(self) -> list[Problem]:
        """Names of hosts, intercalants, compounds and boundaries that are not in the inventories."""
        problems = []
        for kind in INVENTORY_KEYS:
            names = getattr(self.candidates, kind, None)
            if not isinstance(names, list):
                continue
            getattr(self.inventory, kind)  # an inventory that cannot be read is an error of its own
            for number, name in enumerate(names):
                try:
                    self.inventory.pick(kind, name)
                except InputError as error:
                    problems.append(Problem(("candidates", kind, number), f"{error.message}; {error.hint}", name))
        return problems

    def refused_candidates(self) -> list[Problem]:
        """Candidates that the engine of the first row cannot compute, where it says so of a composition."""
        engine = self.calculate[0].engine
        if not engine.is_selective:  # candidates may be those of pools, which cost time to read
            return []
        reasons: dict[str, str | None] = {}
        refused: dict[str, list[str]] = {}
        for candidate in self.all_candidates():
            if candidate.formula not in reasons:
                reasons[candidate.formula] = engine.refuses(candidate.formula)
            if reason := reasons[candidate.formula]:
                refused.setdefault(reason, []).append(candidate.label)
        return [
            Problem(("calculate", 0, "engine"), f"{labels[0]} and {len(labels) - 1} more: {reason}")
            if len(labels) > 1
            else Problem(("calculate", 0, "engine"), f"{labels[0]}: {reason}")
            for reason, labels in refused.items()
        ]

    def content(self) -> dict[str, Any]:
        """Everything that is stored and compared; the description is for people and not compared."""
        return {
            "name": self.name,
            "inventories": self.inventories,
            "candidates": self.candidates.model_dump(mode="json"),
            "calculate": [row.content() for row in self.calculate],
            **({"retry": {cause: rule.stored() for cause, rule in self.retry.items()}} if self.retry else {}),
        }

    @property
    def domain(self) -> Domain:
        """Domain of the candidates."""
        return get_domain(self.candidates.domain)  # type: ignore[attr-defined]

    @cached_property
    def inventory(self) -> Inventories:
        """Inventories the candidates are made from."""
        from hts_flows.settings import load_settings

        return Inventories(self.inventories or load_settings().inventories)

    def ladder(self) -> list[Level]:
        """Rows with "auto" settings resolved and the hashes that results are stored under."""
        levels: list[Level] = []
        for number, row in enumerate(self.calculate):
            engine = row.engine.resolved(layered=self.domain.layered)
            previous = levels[-1].settings_hash if levels else None
            same = sum(level.engine.engine == engine.engine for level in levels)
            name = f"{engine.engine}:{same + 1}" if same else engine.engine
            settings_hash = engine.settings_hash(_before(row, previous))
            resources = row.resources.stored()
            levels.append(
                Level(number, engine, settings_hash, previous, row.promote, row.screen, row.optional, resources, name)
            )
        return levels

    def all_candidates(self) -> list[Candidate]:
        """Every candidate once, in the order of the file.

        Raises
        ------
        InputError
            A name in the file is not in the inventories.
        """
        seen: dict[str, Candidate] = {}
        for candidate in self.candidates.candidates(self.inventory):
            seen.setdefault(candidate.candidate_id, candidate)
        return list(seen.values())


def _before(row: LadderRow, previous: str | None) -> str | None:
    """Hash what a row's results follow from beside its engine: the row below, and the training set it learns from."""
    if not row.engine.learns or row.screen is None:
        return previous
    return stable_hash({"previous": previous, "train_on": row.screen.train_on})


def _read_candidates(section: Any, problems: list[Problem]) -> Any:
    allowed = ", ".join(name for name in domain_names() if get_domain(name).space)
    if not isinstance(section, dict) or "domain" not in section:
        problems.append(Problem(("candidates",), f"expected keys, 'domain' among them; allowed domains: {allowed}"))
        return section
    if not isinstance(section["domain"], str):
        message = f"{_shown(section['domain'])} is not the name of a domain; allowed: {allowed}"
        problems.append(Problem(("candidates", "domain"), message))
        return section
    try:
        space = get_domain(section["domain"]).space
    except InputError as error:
        problems.append(Problem(("candidates", "domain"), error.message))
        return section
    if space is None:
        message = f"{section['domain']!r} makes no candidates of its own; allowed: {allowed}"
        problems.append(Problem(("candidates", "domain"), message))
        return section
    try:
        return space.model_validate(section)
    except ValidationError as error:
        problems += problems_of(error, space, ("candidates",))
        return section


def _read_row(row: Any, number: int, problems: list[Problem]) -> Any:
    place = ("calculate", number)
    if not isinstance(row, dict) or "engine" not in row:
        problems.append(Problem(place, f"expected keys, 'engine' among them, found {_shown(row)}"))
        return row
    own = {key: value for key, value in row.items() if key in LadderRow.model_fields and key != "engine"}
    settings = {key: value for key, value in row.items() if key not in own}
    try:
        engine_type = engine_class(str(row["engine"]))
    except InputError as error:
        problems.append(Problem((*place, "engine"), error.message))
        return row
    try:
        own["engine"] = engine_type.model_validate(settings)
    except ValidationError as error:
        problems += problems_of(error, engine_type, place, also=("promote", "screen", "optional", "resources"))
        return row
    try:
        return LadderRow.model_validate(own)
    except ValidationError as error:
        problems += problems_of(error, LadderRow, place)
        return row


def _read_retry(section: Any, problems: list[Problem]) -> Any:
    if not isinstance(section, dict):
        problems.append(Problem(("retry",), f"expected 'CAUSE: {{at_most: 2}}' lines, found {_shown(section)}"))
        return {}
    rules = {}
    for cause, rule in section.items():
        place = ("retry", cause)
        if wrong := check_cause(cause):
            problems.append(Problem(place, wrong))
            continue
        try:
            rules[cause] = RetryRule.model_validate(rule)
        except ValidationError as error:
            problems += problems_of(error, RetryRule, place)
    return rules


def problems_of(
    error: ValidationError, model: type[BaseModel], place: tuple[str | int, ...], also: tuple[str, ...] = ()
) -> list[Problem]:
    """Put pydantic's errors in words that name the value and what is allowed."""
    found = []
    for detail in error.errors():
        path = (*place, *detail["loc"])
        message = detail["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        if detail["type"] == "extra_forbidden":
            names = [*(_model_at(model, detail["loc"][:-1]) or model).model_fields, *also]
            message = f"unknown key {detail['loc'][-1]!r}; {nearest(str(detail['loc'][-1]), names)}"
        elif detail["type"] == "missing":
            message = "missing: this key is required"
        else:
            if detail["type"] == "string_pattern_mismatch":
                field = (_model_at(model, detail["loc"][:-1]) or model).model_fields.get(str(detail["loc"][-1]))
                message = f"cannot be used. {field.description}" if field and field.description else message
            message = EXPECTED.get(detail["type"], message)
            # What is wrong with a section as a whole, its message names itself.
            if detail["loc"] or not isinstance(detail["input"], dict):
                message += f" (found {_shown(detail['input'])})"
        found.append(Problem(path, message, detail["input"]))
    return found


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def _numbers_of(document: type[PropertyDoc]) -> set[str]:
    """Properties that are numbers, truth values aside."""
    numbers = {int, float, type(None)}
    return {
        name
        for name, field in document.model_fields.items()
        if name != "schema_version" and set(get_args(field.annotation) or (field.annotation,)) <= numbers
    }


def _model_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> type[BaseModel] | None:
    """Find the model that a key inside a section belongs to."""
    for part in loc:
        field = model.model_fields.get(str(part))
        if field is None:
            continue
        inner = [field.annotation, *get_args(field.annotation)]
        nested = [kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if not nested:
            return None
        model = nested[0]
    return model


def load_campaign_file(path: Path) -> Campaign:
    """Read and validate a campaign file.

    Raises
    ------
    InputError
        The file is missing, is no YAML, or holds something that cannot be used: the message gives file, line, key,
        value and what is allowed.
    """
    from hts_flows.campaign_file import read_yaml

    document = read_yaml(path)
    try:
        campaign = Campaign.from_dict(document.data, str(path))
    except CampaignError as error:
        raise _placed(document, error.problems) from error
    if campaign.inventories:
        folder = (path.parent / campaign.inventories).resolve()
        if not folder.is_dir():
            raise InputError(
                document.describe(("inventories",), f"no such folder: {campaign.inventories} (looked at {folder})"),
                "give a folder relative to the file, or leave the line out to use the inventories of hts_flows",
            )
        campaign = campaign.model_copy(update={"inventories": str(folder)})
    if unknown := campaign.unknown_names():
        raise _placed(document, unknown)
    campaign = campaign.model_copy(update={"candidates": campaign.candidates.placed(path.parent.resolve())})
    if refused := campaign.refused_candidates():
        raise _placed(document, refused)
    return campaign


def _placed(document: YamlDocument, problems: list[Problem]) -> InputError:
    lines = [document.describe(problem.path, problem.message) for problem in problems]
    return InputError("\n".join(lines), f"correct it, then type: hts check {document.path}")
