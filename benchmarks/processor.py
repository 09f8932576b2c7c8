"""Processor time of processes on this machine, for measurements beside others (proc(5))."""

from __future__ import annotations

import os
from pathlib import Path

from sqlalchemy import text

from slotcast_publisher.fleet.database.database import Database


def cpu_s(pid: int) -> float:
    """Give the processor time of a process, in seconds; 0 for one that is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def server_cpu_s(database: Database) -> float:
    """Give what a server's processes have taken since they started; nothing for SQLite."""
    if database.is_sqlite:
        return 0.0
    with database.reading() as connection:
        pids = connection.execute(text("SELECT pid FROM pg_stat_activity")).scalars().all()
    return sum(map(cpu_s, pids))
