"""Pages of a table of results: what is asked for, what is given, and how rows are chosen, ordered and counted."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from hts_flows.conditions import OPERATORS, Condition, read_condition
from hts_flows.errors import InputError, nearest
from hts_flows.stores.result_columns import ColumnInfo, Kind

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

    Mask = NDArray[np.bool_]

#: Columns with more different values than this are no menu.
MOST_CHOICES = 200
#: Rows on a page.
PAGE = 50
_MOST_ROWS = 5000
_MENUS = ("state", "cause")
_TRUTHS = {"true": True, "false": False}


class ResultQuery(BaseModel):
    """Which results to show, and in which order."""

    model_config = ConfigDict(extra="forbid")

    where: list[str] = Field(
        default=[], description="Conditions NAME OPERATOR VALUE, all of which hold, e.g. 'intercalation_energy < 0'"
    )
    choices: dict[str, list[str | float | bool]] = Field(
        default={}, description="Values of facets, state or cause; of each name one of its values must be the row's"
    )
    text: str = Field(default="", max_length=200, description="Part of the label or formula, in any case")
    references: bool = Field(default=False, description="The references (hosts, elements) instead of the candidates")
    sort: str = Field(
        default="label", description="Column to sort by, with a leading - from high to low; missing values come last"
    )
    offset: int = Field(default=0, ge=0, description="Rows to leave out at the beginning")
    limit: int = Field(default=PAGE, ge=0, le=_MOST_ROWS, description="Most rows to give")


class Choice(BaseModel):
    """One value of a menu."""

    model_config = ConfigDict(extra="forbid")

    value: str | bool | int | float = Field(description="Value of the column")
    count: int = Field(description="Rows with it that everything else in the query selects")


class Menu(BaseModel):
    """The values of one column, to choose from."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="Name of the column")
    header: str = Field(description="Its name for people")
    choices: list[Choice] = Field(description="Its values in order, those of no selected row included")


class ResultPage(BaseModel):
    """Some rows of a table of results."""

    model_config = ConfigDict(extra="forbid")

    columns: list[ColumnInfo] = Field(description="Columns of the rows, with units")
    rows: list[dict[str, Any]] = Field(description="By column, and 'key', the result's key; None is missing")
    total: int = Field(description="Results in the table")
    filtered: int = Field(description="Results that the query selects")
    offset: int = Field(description="Rows left out at the beginning")
    limit: int = Field(description="Most rows given")
    sort: str = Field(description="Column they are sorted by, with a leading - from high to low")
    menus: list[Menu] = Field(description="Facets, state and cause, with counts")


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A table of results as it was at one moment.

    Attributes
    ----------
    frame
        One row a result, indexed by its key; columns as in ``columns``, each of its kind.
    candidate
        Whether each row is a candidate's, not a reference's.
    columns
        What the columns are.
    domain
        Name of the candidates' domain; None without candidates.
    facets
        Facets that occur, with the kind of their values.
    """

    frame: pd.DataFrame
    candidate: pd.Series
    columns: tuple[ColumnInfo, ...]
    domain: str | None
    facets: dict[str, Kind | None]
    _codes: dict[str, tuple[NDArray[np.int32], pd.Index]] = field(default_factory=dict, repr=False)
    _orders: dict[str, NDArray[np.int32]] = field(default_factory=dict, repr=False)

    def page(self, query: ResultQuery) -> ResultPage:
        """Give some rows; see :meth:`hts_flows.stores.result_tables.ResultTables.page`."""
        base, chosen = self._masks(query)
        selected = reduce(np.logical_and, chosen.values(), base)
        order = self._order(query.sort)
        order = order[selected[order]]
        # Not validated, which would copy thousands of rows that were made here of columns of one kind each.
        return ResultPage.model_construct(
            columns=list(self.columns),
            rows=self._rows(order[query.offset : query.offset + query.limit]),
            total=int(self._of_role(query).sum()),
            filtered=len(order),
            offset=query.offset,
            limit=query.limit,
            sort=query.sort,
            menus=self._menus(base, chosen, query),
        )

    def selected(self, query: ResultQuery) -> pd.DataFrame:
        """Give all rows that a query selects, in its order; ``offset`` and ``limit`` play no part."""
        base, chosen = self._masks(query)
        selected = reduce(np.logical_and, chosen.values(), base)
        order = self._order(query.sort)
        return self.frame.iloc[order[selected[order]]].reset_index(drop=True)

    @cached_property
    def _by_name(self) -> dict[str, ColumnInfo]:
        return {column.name: column for column in self.columns}

    def _of_role(self, query: ResultQuery) -> Mask:
        candidate = self.candidate.to_numpy()
        return ~candidate if query.references else candidate

    def _masks(self, query: ResultQuery) -> tuple[Mask, dict[str, Mask]]:
        """Rows that conditions and text select, and those that the choices of each column select."""
        mask = self._of_role(query)
        for text in query.where:
            mask = mask & self._where(text)
        if text := query.text.strip():
            named = [self.frame[name].str.contains(text, case=False, regex=False) for name in ("label", "formula")]
            mask = mask & (named[0] | named[1]).to_numpy(dtype=bool, na_value=False)
        return mask, {name: self._chosen(name, values) for name, values in query.choices.items() if values}

    def _column(self, name: str, where: str) -> ColumnInfo:
        if name not in self._by_name:
            raise InputError(f"{where}: unknown field {name!r}; {nearest(name, self._by_name)}")
        return self._by_name[name]

    def _where(self, text: str) -> Mask:
        condition = read_condition(text, self._by_name)
        column = self._by_name[condition.name]
        self._check_kind(text, column, condition.value)
        compare = OPERATORS[condition.operator][1]
        if condition.value is None:
            missing = self.frame[condition.name].isna().to_numpy()
            return np.asarray(missing if OPERATORS[condition.operator][0] == "$eq" else ~missing)
        if column.kind in ("number", "integer"):
            # What is missing is not a number, which only differs from any.
            with np.errstate(invalid="ignore"):
                return np.asarray(compare(self._numbers(condition.name), condition.value))
        codes, values = self._coded(condition.name)
        holds = np.array([*(compare(value, condition.value) for value in values), _differs(condition)], dtype=bool)
        return holds[codes]

    def _check_kind(self, text: str, column: ColumnInfo, value: Any) -> None:
        """Refuse a value that no row of a column can have."""
        if value is None:
            return
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if column.kind in ("number", "integer") and not number:
            raise InputError(f"{text!r}: {column.name} is a number, {value!r} is none", "compare it with a number")
        if column.kind == "truth" and not isinstance(value, bool):
            raise InputError(f"{text!r}: {column.name} is true or false; {nearest(str(value), _TRUTHS)}")
        if column.kind == "text" and not isinstance(value, str):
            raise InputError(f"{text!r}: {column.name} is text, {value!r} is none; {self._near(column.name, value)}")

    def _near(self, name: str, value: Any) -> str:
        return nearest(str(value), map(str, self._coded(name)[1]))

    def _chosen(self, name: str, wanted: list[str | float | bool]) -> Mask:
        column = self._column(name, f"choice of {name!r}")
        if column.kind in ("number", "integer"):
            numbers = [self._as_number(name, value) for value in wanted]
            return np.isin(self._numbers(name), numbers)
        codes, values = self._coded(name)
        if column.kind == "truth":
            unknown = [one for one in wanted if not isinstance(one, bool) and str(one).lower() not in _TRUTHS]
            if unknown:
                raise InputError(f"{name} = {unknown[0]!r}: {name} is true or false")
            accepted: set[Any] = {one if isinstance(one, bool) else _TRUTHS[str(one).lower()] for one in wanted}
        else:
            accepted = {str(one) for one in wanted}
        return np.array([*(value in accepted for value in values), False], dtype=bool)[codes]

    def _as_number(self, name: str, value: Any) -> float:
        try:
            return float(value)
        except ValueError:
            raise InputError(f"{name} = {value!r}: {name} is a number; {self._near(name, value)}") from None

    def _numbers(self, name: str) -> NDArray[np.float64]:
        return self.frame[name].to_numpy(dtype=float, na_value=np.nan)

    def _coded(self, name: str) -> tuple[NDArray[np.int32], pd.Index]:
        """Values of a column in order, and for each row the place of its own among them; -1 where it is missing."""
        if name not in self._codes:
            import pandas as pd

            codes, values = pd.factorize(self.frame[name], sort=True)
            self._codes[name] = codes.astype(np.int32), pd.Index(values)
        return self._codes[name]

    @cached_property
    def _by_label(self) -> NDArray[np.int32]:
        """For each row its place by label, of equal ones by key."""
        codes, labels = self._coded("label")
        if len(labels) == len(codes):
            return codes
        order = np.lexsort((self.frame.index.to_numpy(dtype=str), codes, codes < 0))
        places = np.empty(len(order), dtype=np.int32)
        places[order] = np.arange(len(order), dtype=np.int32)
        return places

    def _order(self, sort: str) -> NDArray[np.int32]:
        """Numbers of all rows in the order asked for."""
        if sort not in self._orders:
            down = sort.startswith("-")
            column = self._column(sort.removeprefix("-"), f"sort {sort!r}")
            if column.kind in ("number", "integer"):
                values = self._numbers(column.name)
                missing = np.isnan(values)
            else:
                values = self._coded(column.name)[0].astype(float)
                missing = values < 0
            values = np.where(missing, 0.0, -values if down else values)
            self._orders[sort] = np.lexsort((self._by_label, values, missing)).astype(np.int32)
        return self._orders[sort]

    def _rows(self, numbers: NDArray[np.int32]) -> list[dict[str, Any]]:
        part = self.frame.iloc[numbers]
        # A whole column at once: taken out one by one, most of the time would go into asking what each value is.
        columns = {name: _items(part[name]) for name in part.columns}
        names = ["key", *columns]
        return [dict(zip(names, row, strict=True)) for row in zip(part.index, *columns.values(), strict=True)]

    def _menus(self, base: Mask, chosen: dict[str, Mask], query: ResultQuery) -> list[Menu]:
        menus = []
        role = self._of_role(query)
        for name in (*_MENUS, *self.facets):
            codes, values = self._coded(name)
            among = np.bincount(codes[role] + 1, minlength=len(values) + 1)[1:]
            if not 0 < np.count_nonzero(among) <= MOST_CHOICES:
                continue
            # What is chosen of a column does not hide its other values.
            mask = reduce(np.logical_and, (one for other, one in chosen.items() if other != name), base)
            counts = np.bincount(codes[mask] + 1, minlength=len(values) + 1)[1:]
            choices = [
                Choice(value=value, count=int(count))
                for value, count, present in zip(map(_plain, values), counts, among, strict=True)
                if present
            ]
            menus.append(Menu(name=name, header=self._by_name[name].header, choices=choices))
        return menus


def _items(column: pd.Series) -> list[Any]:
    """Python's own numbers, truth values or texts; None is missing."""
    missing: Any = None  # which pandas takes, and its annotations do not
    return column.to_numpy(dtype=object, na_value=missing).tolist()


def _plain(value: Any) -> Any:
    """Python's own number, truth value or text."""
    return value.item() if isinstance(value, np.generic) else value


def _differs(condition: Condition) -> bool:
    """Tell whether a condition holds for what is missing: it only differs from a value."""
    return OPERATORS[condition.operator][0] == "$ne"
