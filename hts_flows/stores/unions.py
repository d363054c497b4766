"""Many small aggregations of one collection in one call, each with an index of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pymongo.collection import Collection

#: Aggregations in one call; servers refuse pipelines of more than 1000 stages.
MOST_AT_ONCE = 250
#: Documents that come with the first answer, so that there is no second.
_BATCH = 100_000


def union(
    collection: Collection[dict[str, Any]], pipelines: Iterable[list[dict[str, Any]]]
) -> Iterator[dict[str, Any]]:
    """Run pipelines one after the other, in one call for each :data:`MOST_AT_ONCE`.

    ``$facet`` would read the collection from end to end; here each pipeline begins with a ``$match`` that an index
    serves.

    Parameters
    ----------
    collection
        What they read.
    pipelines
        Each gives documents that say which pipeline they are from, where that matters.

    Yields
    ------
    dict
        Documents of the first pipeline, then of the second, and so on.
    """
    remaining = iter(pipelines)
    while chunk := list(islice(remaining, MOST_AT_ONCE)):
        first, *others = chunk
        further = [{"$unionWith": {"coll": collection.name, "pipeline": pipeline}} for pipeline in others]
        yield from collection.aggregate([*first, *further], batchSize=_BATCH)
