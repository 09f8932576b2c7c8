"""The weekly timer of docs/certificates.md: its units are right, and what they run lasts."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest

from slotcast_publisher.alarm_settings import AlarmSettings
from slotcast_publisher.certificates.desk import CertificateDesk
from slotcast_publisher.fleet.alarms import gather
from slotcast_publisher.fleet.alarms.facts import Facts
from slotcast_publisher.fleet.alarms.rules import judge
from slotcast_publisher.repository import Repository

PAGE: Final = (Path(__file__).parents[4] / "docs" / "certificates.md").read_text()
SERVICE, TIMER = "slotcast-lists.service", "slotcast-lists.timer"
UNITS: Final = dict(
    re.findall(r"`/etc/systemd/system/([\w.-]+)`:\n\n```ini\n(.*?)```", PAGE, re.DOTALL)
)
PASSPHRASE: Final = "correct horse"
DAY_S: Final = 86_400.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A repository with encrypted keys, whose lists were dated 25 days ago for 30."""
    path = tmp_path / "repo"
    repo = Repository.init(path, encrypted=True, passphrase=lambda purpose: PASSPHRASE)
    past = datetime.now(UTC) - timedelta(days=25)
    CertificateDesk(repo.path, repo.ring.secret, lambda: past).init(["localhost"])
    return path


def alarms_of_lists(folder: Path, *, in_days: float = 0) -> list[str]:
    """Say which lists the alarm names, after so many days more."""
    found = tuple(gather.certificates(folder, []))
    judgement = judge(Facts(time.time() + in_days * DAY_S, certificates=found), AlarmSettings())
    return [one.subject for one in judgement.findings if "list of revoked" in one.subject]


def run_service(folder: Path, passphrase: str) -> subprocess.CompletedProcess[str]:
    """Run what the service runs, on this repository."""
    line = re.search(r"^ExecStart=(.+)$", UNITS[SERVICE], re.MULTILINE)
    variable = re.search(r"`passphrase.env` has one line, `(\w+)=…`", PAGE)
    assert line is not None
    assert variable is not None
    program, *arguments = shlex.split(line[1])
    assert Path(program).name == "slotcast"
    arguments = [str(folder) if one == "/srv/slotcast/repo" else one for one in arguments]
    assert str(folder) in arguments
    return subprocess.run(
        [Path(sys.executable).parent / "slotcast", *arguments],
        env=os.environ | {variable[1]: passphrase},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def test_lists_that_end_raise_the_alarm_and_the_service_clears_it_for_more_than_a_week(
    folder: Path,
) -> None:
    assert len(alarms_of_lists(folder)) == 2
    done = run_service(folder, PASSPHRASE)
    assert done.returncode == 0, done.stderr
    assert alarms_of_lists(folder) == []
    assert alarms_of_lists(folder, in_days=21) == []
    assert len(alarms_of_lists(folder, in_days=23)) == 2, "it is said a week before the end"


def test_a_service_without_the_right_passphrase_fails_and_the_alarm_stays(folder: Path) -> None:
    assert run_service(folder, "wrong").returncode != 0
    assert len(alarms_of_lists(folder)) == 2


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="there is no systemd-analyze")
def test_systemd_takes_the_units_and_runs_them_every_week(tmp_path: Path) -> None:
    for name in (SERVICE, TIMER):
        text = UNITS[name].replace("/usr/local/bin/slotcast", sys.executable)
        (tmp_path / name).write_text(text)
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / TIMER)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    about_ours = [line for line in checked.stderr.splitlines() if "slotcast-lists" in line]
    assert (checked.returncode, about_ours) == (0, [])
    when = re.search(r"^OnCalendar=(.+)$", UNITS[TIMER], re.MULTILINE)
    assert when is not None
    assert when[1] == "weekly"
