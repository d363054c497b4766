"""Times of documents: MongoDB's are UTC and do not say so; what is read into a model does."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator


def as_utc(time: datetime) -> datetime:
    """Give a time its time zone; one without is UTC, as MongoDB's are."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


#: A field of a document.
UtcTime = Annotated[datetime, AfterValidator(as_utc)]
