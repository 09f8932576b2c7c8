"""How large a fleet's database is after a simulated year, and whether it still grows.

A few devices say a status and metrics every hour for a year; once a day figures are summed up and
what is older than `[fleet]` of the settings says is deleted, as `serve` does it.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Final

from benchmarks.fleet_messages import said_in_a_minute
from benchmarks.report import Figure, Options
from slotcast_publisher.fleet.database.database import Database, open_database
from slotcast_publisher.fleet.database.folding import ROWS_MAX, fold_metrics
from slotcast_publisher.fleet.database.retention import forget_old
from slotcast_publisher.fleet.intake.intake import Intake, IntakeBounds
from slotcast_publisher.serve.companion import Heard
from slotcast_publisher.settings import FleetSettings
from slotcast_schemas.topics import Topics

DEVICES: Final = 20
QUICK_DEVICES: Final = 2
DAYS: Final = 365
HOUR_S: Final = 3_600
HOURS_A_DAY: Final = 24
GROWTH_MAX: Final = 1.2
"""What a year may be to half of one: history of a year is kept, sums of 90 days."""
SHOWN_DEVICES: Final = 1_000


def run(options: Options) -> list[Figure]:
    """Live through a year, and look at the file after half of it and at its end."""
    devices = QUICK_DEVICES if options.quick else DEVICES
    options.say(f"a year of {devices} devices")
    path = options.work / "year.db"
    topics, start_s = Topics("year"), int(time.time()) - DAYS * HOURS_A_DAY * HOUR_S
    stop = threading.Event()
    stop.set()
    sizes: dict[int, int] = {}
    with open_database(path) as database:
        bounds = IntakeBounds(batch_wait_s=0.0)
        intake = Intake(database, topics, lambda event, **_: options.say(event), bounds)
        empty = _size(path)
        for day in range(DAYS):
            for hour in range(day * HOURS_A_DAY, (day + 1) * HOURS_A_DAY):
                at_s = float(start_s + (hour + 1) * HOUR_S)
                for topic, data in said_in_a_minute(topics, devices, hour, start_s, HOUR_S):
                    intake.take(Heard(topic, data, False, at_s, "broker"))
            intake.run(stop)  # writes what there is, and ends
            _look_after(database, start_s + (day + 1) * HOURS_A_DAY * HOUR_S)
            sizes[day + 1] = _size(path)
    half, whole = sizes[DAYS // 2], sizes[DAYS]
    one = (whole - empty) / devices
    note = f"a status and metrics an hour; {whole / 1e6:.1f} MB for {devices} devices"
    name = f"a year of {SHOWN_DEVICES} devices: database"
    return [
        Figure(name, (empty + one * SHOWN_DEVICES) / 1e6, "MB", note=note),
        Figure("a year's database to half a year's", whole / half, "ratio", GROWTH_MAX),
    ]


def _look_after(database: Database, now_s: float) -> None:
    while True:
        with database.transaction() as connection:
            if fold_metrics(connection) < ROWS_MAX:
                break
    forget_old(database, FleetSettings(), now_s)


def _size(path: Path) -> int:
    return path.stat().st_size
