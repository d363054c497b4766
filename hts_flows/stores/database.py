"""The connection: one MongoDB database that holds FireWorks, job outputs, results, campaigns and the audit."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pymongo import ASCENDING, IndexModel, MongoClient
from pymongo.errors import ConfigurationError, InvalidURI, OperationFailure, PyMongoError

from hts_flows.errors import StoreUnavailableError
from hts_flows.settings import Settings, load_settings, mask_password
from hts_flows.stores.allocations import ALLOCATION_INDEXES
from hts_flows.stores.audit import AUDIT_INDEXES
from hts_flows.stores.campaigns import CAMPAIGN_INDEXES, STEP_INDEXES
from hts_flows.stores.candidates import CANDIDATE_RANKING_INDEXES
from hts_flows.stores.jobs import JOB_INDEXES
from hts_flows.stores.overview import headline_indexes
from hts_flows.stores.pools import POOL_INDEXES
from hts_flows.stores.rankings import RANKING_INDEXES
from hts_flows.stores.results import RESULT_INDEXES, ResultCollection

if TYPE_CHECKING:
    from fireworks import LaunchPad
    from jobflow import JobStore
    from pymongo.collection import Collection
    from pymongo.database import Database as MongoDatabase

#: Every index of the database, declared beside the queries that need it, created on connect.
INDEXES: dict[str, list[IndexModel]] = {
    "results": [*RESULT_INDEXES, *headline_indexes()],
    "campaigns": CAMPAIGN_INDEXES,
    "steps": STEP_INDEXES,
    "rankings": [*RANKING_INDEXES, *CANDIDATE_RANKING_INDEXES],
    **POOL_INDEXES,
    "allocations": ALLOCATION_INDEXES,
    "audit": AUDIT_INDEXES,
    # jobflow looks outputs up by uuid and takes the highest index.
    "outputs": [IndexModel([("uuid", ASCENDING), ("index", -1)])],
    # FireWorks: checking out a job, finding a job's workflow, finding what a result belongs to.
    "fireworks": [
        IndexModel([("fw_id", ASCENDING)], unique=True),
        IndexModel([("state", ASCENDING), ("spec.hts.campaigns", ASCENDING), ("spec._priority", -1)]),
        # A pilot takes the most urgent job of its pool.
        IndexModel([("state", ASCENDING), ("spec.hts.pool", ASCENDING), ("spec._priority", -1)]),
        IndexModel([("launches", ASCENDING)]),
        IndexModel([("spec.hts.result", ASCENDING)]),
        *JOB_INDEXES,
    ],
    "launches": [
        IndexModel([("launch_id", ASCENDING)], unique=True),
        IndexModel([("fw_id", ASCENDING)]),
        IndexModel([("state", ASCENDING)]),
    ],
    "workflows": [
        IndexModel([("nodes", ASCENDING)]),
        IndexModel([("metadata.result", ASCENDING)]),
        IndexModel([("metadata.campaigns", ASCENDING), ("state", ASCENDING)]),
    ],
}
#: GridFS bucket, in JobStore's terms the additional store "data", that takes trajectories and large arrays.
BLOBS = "outputs_blobs"


@dataclass(frozen=True)
class Database:
    """An open connection and what hangs on it.

    Attributes
    ----------
    uri
        Address with credentials; show it only through :attr:`address`.
    mongo
        The pymongo database.
    """

    uri: str = field(repr=False)
    mongo: MongoDatabase[dict[str, Any]]

    @property
    def address(self) -> str:
        """Address without the password."""
        return mask_password(self.uri)

    @property
    def results(self) -> ResultCollection:
        """One document for each (candidate, settings)."""
        return ResultCollection(self.mongo, "results")

    @property
    def campaigns(self) -> Collection[dict[str, Any]]:
        """One document for each campaign."""
        return self.mongo["campaigns"]

    @property
    def steps(self) -> Collection[dict[str, Any]]:
        """One document for each step of a campaign."""
        return self.mongo["steps"]

    @property
    def rankings(self) -> Collection[dict[str, Any]]:
        """One document for each time that candidates were scored."""
        return self.mongo["rankings"]

    @property
    def audit(self) -> Collection[dict[str, Any]]:
        """One document for each change a person made."""
        return self.mongo["audit"]

    @property
    def allocations(self) -> Collection[dict[str, Any]]:
        """One document for each SLURM job."""
        return self.mongo["allocations"]

    @property
    def leases(self) -> Collection[dict[str, Any]]:
        """One document for each thing that one process at a time does, while it does it."""
        return self.mongo["leases"]

    @cached_property
    def launchpad(self) -> LaunchPad:
        """FireWorks' view of the database."""
        from fireworks import LaunchPad

        return LaunchPad(host=self.uri, name=self.mongo.name, uri_mode=True, strm_lvl="WARNING")

    @cached_property
    def job_store(self) -> JobStore:
        """JobStore, jobflow's view of the database: outputs, with large data in GridFS."""
        from jobflow import JobStore
        from maggma.stores.gridfs import GridFSStore
        from maggma.stores.mongolike import MongoStore

        store = JobStore(
            MongoStore.from_uri(self.uri, "outputs", database=self.mongo.name),
            additional_stores={"data": GridFSStore.from_uri(self.uri, BLOBS, database=self.mongo.name)},
        )
        store.connect()
        return store


def connect(settings: Settings | None = None) -> Database:
    """Connect to the MongoDB of the settings, starting the private one where none is named.

    Parameters
    ----------
    settings
        Those in force when left out.

    Raises
    ------
    StoreUnavailableError
        It does not answer, refuses the login, or cannot be started.
    """
    settings = settings or load_settings()
    if settings.mongodb_uri is None:
        from hts_flows.launch.mongod import PrivateMongod

        uri = PrivateMongod(settings).uri()
    else:
        uri = settings.mongodb_uri.get_secret_value()
    database = open_database(uri, settings.database, settings.mongodb_timeout)
    prepare(database)
    return database


def open_database(uri: str, name: str, timeout: float) -> Database:
    """Open a database without changing it.

    Parameters
    ----------
    uri
        ``mongodb://`` address.
    name
        Name of the database.
    timeout
        Longest wait for an answer, s.
    """
    hint = "check HTS_MONGODB_URI with 'hts settings', or unset it to use a private MongoDB on this machine"
    try:
        client: MongoClient[dict[str, Any]] = MongoClient(
            uri, serverSelectionTimeoutMS=int(timeout * 1000), appname="hts_flows"
        )
        client.admin.command("ping")
        client[name].list_collection_names()
    except (InvalidURI, ConfigurationError) as error:
        raise StoreUnavailableError(f"MongoDB address {mask_password(uri)!r} cannot be used: {error}", hint) from error
    except OperationFailure as error:
        raise StoreUnavailableError(
            f"MongoDB at {mask_password(uri)} refuses the login or the database {name!r}: {error.details}", hint
        ) from error
    except PyMongoError as error:
        raise StoreUnavailableError(
            f"MongoDB at {mask_password(uri)} does not answer within {timeout:g} s ({str(error).split(',')[0]})", hint
        ) from error
    return Database(uri, client[name])


def prepare(database: Database) -> None:
    """Create what is missing: indexes, and the counter FireWorks takes its ids from. Changes nothing else."""
    for name, indexes in INDEXES.items():
        if indexes:
            database.mongo[name].create_indexes(indexes)
    counters = database.mongo["fw_id_assigner"]
    if counters.find_one({}) is None:
        # A fixed _id, so that two first connections at once make one counter.
        counters.update_one({"_id": "counter"}, {"$setOnInsert": {"next_fw_id": 1, "next_launch_id": 1}}, upsert=True)
