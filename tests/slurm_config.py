"""The configuration of a SLURM for tests, in one folder: three nodes, four partitions, accounting."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

from daemons import free_ports

NODES = ("n1", "n2", "n3")
_MODULEFILE = """#%Module
setenv HTS_TEST_MODULE 1
"""


def configure(folder: Path) -> None:
    """Write the files that the daemons of one SLURM read, and the folders they write to."""
    for name in ("log", "run", "state", "db", "jobs", "scripts", "modulefiles/hts-test", *NODES):
        (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / "db").chmod(0o700)  # MariaDB asks for no password: only root reaches its socket
    (folder / "modulefiles/hts-test/1.0").write_text(_MODULEFILE)
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(secrets.token_bytes(128))
    # cgroup v1: more memory than asked for is OUT_OF_MEMORY. Elsewhere slurmd itself looks, once a second.
    cgroups = os.access("/sys/fs/cgroup/memory/tasks", os.W_OK)
    if cgroups:
        lines = ("CgroupPlugin=cgroup/v1", "CgroupMountpoint=/sys/fs/cgroup", "ConstrainRAMSpace=yes")
        (folder / "cgroup.conf").write_text("\n".join(lines) + "\n")
    memory = ("TaskPlugin=task/cgroup",) if cgroups else ("JobAcctGatherParams=OverMemoryKill",)
    controller, accounting, *slurmd = free_ports(2 + len(NODES))
    (folder / "slurm.conf").write_text(
        "\n".join((*_slurm_conf(folder, controller, accounting, slurmd), *memory)) + "\n"
    )
    dbd = folder / "slurmdbd.conf"
    dbd.touch(mode=0o600)
    dbd.write_text("\n".join(_slurmdbd_conf(folder, accounting)) + "\n")


def _slurm_conf(folder: Path, controller: int, accounting: int, slurmd: list[int]) -> Iterator[str]:
    host = socket.gethostname().split(".")[0]
    yield from (
        "ClusterName=hts",
        f"SlurmctldHost={host}(127.0.0.1)",
        f"SlurmctldPort={controller}",
        "SlurmUser=root",
        "AuthType=auth/munge",
        f"AuthInfo=socket={folder}/munge.sock,cred_expire=5",
        "CommunicationParameters=NoCtldInAddrAny,NoInAddrAny",
        f"StateSaveLocation={folder}/state",
        f"SlurmdSpoolDir={folder}/%n",
        f"SlurmctldPidFile={folder}/run/slurmctld",
        f"SlurmdPidFile={folder}/run/slurmd-%n",
        f"SlurmctldLogFile={folder}/log/slurmctld.log",
        f"SlurmdLogFile={folder}/log/slurmd.%n.log",
        "ProctrackType=proctrack/linuxproc",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_Core_Memory",
        "SlurmdParameters=config_overrides",
        "ReturnToService=2",
        "SlurmdTimeout=10",
        "KillWait=2",
        "MessageTimeout=5",
        "BatchStartTimeout=10",
        "SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1",
        "EnforcePartLimits=ALL",
        "PreemptType=preempt/partition_prio",
        "PreemptMode=REQUEUE",
        "RequeueExit=99",
        # Job ids of several clusters on one machine must differ: their control groups are named after them.
        f"FirstJobId={1000 + secrets.randbelow(60_000) * 1000}",
        "DefMemPerCPU=200",
        "JobAcctGatherType=jobacct_gather/linux",
        "JobAcctGatherFrequency=task=1",
        "AccountingStorageType=accounting_storage/slurmdbd",
        "AccountingStorageHost=127.0.0.1",
        f"AccountingStoragePort={accounting}",
        f"AccountingStoragePass={folder}/munge.sock",
        "AccountingStorageEnforce=associations,limits",
    )
    for node, port in zip(NODES, slurmd, strict=True):
        yield f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=2 RealMemory=3000"
    yield "PartitionName=DEFAULT Nodes=ALL DefaultTime=5 MaxTime=60 PriorityTier=1 PreemptMode=OFF"
    yield "PartitionName=debug Default=YES"
    yield "PartitionName=short Nodes=n1 DefaultTime=1 MaxTime=2"
    yield "PartitionName=low PreemptMode=CANCEL"
    yield "PartitionName=urgent PriorityTier=10"


def _slurmdbd_conf(folder: Path, port: int) -> tuple[str, ...]:
    return (
        "AuthType=auth/munge",
        f"AuthInfo=socket={folder}/munge.sock",
        "DbdHost=localhost",
        "DbdAddr=127.0.0.1",
        f"DbdPort={port}",
        "CommunicationParameters=NoInAddrAny",
        "SlurmUser=root",
        f"LogFile={folder}/log/slurmdbd.log",
        f"PidFile={folder}/run/slurmdbd",
        "StorageType=accounting_storage/mysql",
        "StorageHost=localhost",
        "StorageUser=root",
    )
