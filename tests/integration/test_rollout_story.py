"""The canary story at a real Mosquitto: a bad release stops early, a mended one reaches all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.brokers import mosquitto
from tests.support.canary_story import CanaryStory

pytestmark = [pytest.mark.broker, pytest.mark.timeout(900)]


def test_a_slow_release_stops_with_the_canaries_and_the_mended_one_reaches_everybody(
    tmp_path: Path,
) -> None:
    """Told with two processes that serve, one of which is killed: each step is signed once."""
    with mosquitto(extra=["log_type all"]) as broker:
        CanaryStory(tmp_path, broker, count=30, percent=40.0, kills=1, serves=2).tell()
