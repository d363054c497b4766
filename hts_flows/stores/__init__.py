"""The database: jobs, results, campaigns, their indexes and queries."""

from hts_flows.stores.database import Database, connect, open_database

__all__ = ["Database", "connect", "open_database"]
