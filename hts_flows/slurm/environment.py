"""The environment of jobs: where the database is, in a file that only its owner reads."""

from __future__ import annotations

import shlex

from hts_flows.candidates import stable_hash
from hts_flows.settings import Settings
from hts_flows.slurm.cluster import Cluster
from hts_flows.slurm.connection import Connection

#: Folder of such files, in the cluster's scratch folder.
FOLDER = ".hts"
#: Many jobs start at once, so they wait longer for MongoDB than a person does, s.
MONGODB_TIMEOUT = 30


def mongodb_uri(settings: Settings, cluster: Cluster) -> str:
    """Address of the MongoDB as compute nodes see it: the cluster's, else that of the settings, else the private one.

    Raises
    ------
    StoreUnavailableError
        The private MongoDB cannot be started.
    """
    named = cluster.mongodb_uri or settings.mongodb_uri
    if named is not None:
        return named.get_secret_value()
    from hts_flows.launch.mongod import PrivateMongod

    return PrivateMongod(settings).uri()


def environment_file_text(settings: Settings, cluster: Cluster) -> str:
    """Write the shell file that every job reads.

    Raises
    ------
    StoreUnavailableError
        The private MongoDB cannot be started.
    """
    values = {
        "HTS_MONGODB_URI": mongodb_uri(settings, cluster),
        "HTS_DATABASE": settings.database,
        "HTS_MONGODB_TIMEOUT": str(MONGODB_TIMEOUT),
    }
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in values.items())


def put_environment_file(connection: Connection, settings: Settings, cluster: Cluster) -> str:
    """Put that file where jobs can read it, unless it is there.

    Returns
    -------
    str
        Its path on the cluster: named after what it holds, so that jobs in the queue keep theirs when it changes.

    Raises
    ------
    StoreUnavailableError
        The private MongoDB cannot be started.
    ClusterUnreachableError, HtsError
        It cannot be written.
    """
    text = environment_file_text(settings, cluster)
    path = f"{cluster.scratch or settings.launches.absolute()}/{FOLDER}/environment-{stable_hash(text, 16)}.sh"
    if connection.run(f"[ -s {shlex.quote(path)} ]").returncode:
        connection.write_private(path, text)
    return path
