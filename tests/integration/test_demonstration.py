"""`slotcast simulate --page` on a machine that has nothing: a fleet to look at."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from tests.support.waiting import WAIT_S, wait_until

_TOKEN = re.compile(r'name="csrf" value="([^"]+)"')


def test_a_fleet_can_be_looked_at_and_leaves_nothing_behind(tmp_path: Path) -> None:
    log = tmp_path / "said"
    words = ["simulate", "--page", "--listen", "127.0.0.1:0", "--devices", "8"]
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "slotcast_publisher", *words],
            stdout=out,
            stderr=out,
            env={**os.environ, "TMPDIR": str(tmp_path)},
        )
    try:
        said = re.compile(r"sign in at (\S+) as (\S+), password (\S+);")
        wait_until(lambda: is_said(log, said) or process.poll() is not None, "a page")
        found = said.search(log.read_text())
        assert found is not None, log.read_text()
        url, name, password = found.groups()
        with httpx.Client(base_url=url, headers={"accept": "text/html"}, timeout=WAIT_S) as browser:
            wait_until(lambda: answers(browser), "an answer of the page")
            token = _TOKEN.search(browser.get("/sign-in").text)
            assert token is not None
            form = {"csrf": token[1], "user": name, "password": password}
            assert browser.post("/sign-in", data=form).status_code == 303
            wait_until(lambda: "8/8 connected" in log.read_text(), "all devices online")
            wait_until(lambda: "rollout meter-1.1 begins" in log.read_text(), "the rollouts")
            wait_until(lambda: "cam-8" in browser.get("/devices").text, "devices on the page")
            wait_until(
                lambda: "RUNNING" in browser.get("/rollouts/meter-1.1").text, "a rollout that moves"
            )
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(WAIT_S) == 0, log.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["said"], "all of it is taken away"


def is_said(log: Path, words: re.Pattern[str]) -> bool:
    return words.search(log.read_text()) is not None


def answers(browser: httpx.Client) -> bool:
    try:
        return browser.get("/sign-in").status_code == 200
    except httpx.TransportError:
        return False
