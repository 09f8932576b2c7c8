"""What an agent holds in memory while it fetches: none of what neither it nor its packages ask."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fleet import Publisher
from tests.support.waiting import WAIT_S

pytestmark = [pytest.mark.broker, pytest.mark.timeout(300)]
PROGRAM = """
import sys
from slotcast_device.cli import main

assert main(sys.argv[1:]) == 0
print(*sys.modules)
"""
UNUSED = {
    "cryptography.hazmat.backends.openssl.backend": "making keys",
    "cryptography.x509": "certificates, which no broker here asks for",
    "email": "http.client, and reading what is installed",
    "http.client": "what others fetch with",
    "importlib.metadata": "the version of the runtime",
    "numpy.random": "drawing what a processor is measured with",
    "onnxruntime": "the children, which try a model",
    "packaging": "releases that ask for a version of the runtime",
    "psutil": "applications, which measure themselves",
    "slotcast_schemas.codecs.delta.decoder": "deltas",
    "urllib3": "what others fetch with",
}
"""What a first update by a whole payload leaves alone, and what it would be for."""


def test_a_first_update_by_a_whole_payload_imports_nothing_for_other_things(
    publisher: Publisher, tmp_path: Path
) -> None:
    publisher.publish("clf", "1")
    device = publisher.provision("cam-1", tmp_path / "cam-1")
    words = ["run", "--config", str(device.config_path), "--once", "--timeout", str(WAIT_S)]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words], capture_output=True, text=True, check=True
    )
    found = set(done.stdout.split())
    assert {"paho.mqtt.client", "tuf.ngclient.updater", "zstandard"} <= found
    assert sorted(found & set(UNUSED)) == []
