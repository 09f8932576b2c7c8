"""A device written from docs/wire.md alone: paho, msgpack, hashlib, python-tuf, zstandard.

Nothing of Slotcast is imported on the receiving side; what a stranger needs is in that page, or
this fails.
"""

from __future__ import annotations

import hashlib
import queue
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
import onnx
import pytest
import zstandard
from onnx import TensorProto, helper, numpy_helper
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from tuf.api.exceptions import DownloadHTTPError
from tuf.ngclient.config import UpdaterConfig
from tuf.ngclient.fetcher import FetcherInterface
from tuf.ngclient.updater import Updater

from slotcast_publisher.cli import app
from tests.support.brokers import Broker
from tests.support.cli_runner import CliRunner
from tests.support.waiting import WAIT_S

pytestmark = pytest.mark.broker
PREFIX = "foreign/client"


def small_model(path: Path) -> bytes:
    weight = np.random.default_rng(1).standard_normal((64, 600)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 600])],
        [numpy_helper.from_array(weight, "w")],
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), str(path))
    return path.read_bytes()


def slotcast(*words: object) -> None:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output


@contextmanager
def subscriber(broker: Broker) -> Iterator[tuple[Client, queue.Queue[tuple[str, bytes]]]]:
    came: queue.Queue[tuple[str, bytes]] = queue.Queue()
    client = Client(CallbackAPIVersion.VERSION2)
    client.on_message = lambda _c, _u, message: came.put((message.topic, bytes(message.payload)))
    client.connect(broker.host, broker.port)
    client.loop_start()
    try:
        yield client, came
    finally:
        client.disconnect()
        client.loop_stop()


class FromNotice(FetcherInterface):
    """Section 3, step 2: what the notice has not, is a 404."""

    def __init__(self, notice: dict[str, Any]) -> None:
        self._files = {f"n:///m/{name}": data for name, data in notice["metadata"].items()}
        self._files |= {f"n:///t/{name}": data for name, data in notice["targets"].items()}

    def _fetch(self, url: str) -> Iterator[bytes]:
        if url not in self._files:
            raise DownloadHTTPError("not in the notice", 404)
        return iter((self._files[url],))


def trusted(notice: dict[str, Any], root: bytes, cache: Path) -> tuple[Any, Any, bytes]:
    """Section 3, steps 1 to 5: give offer, release and the release's bytes."""
    model = notice["model"]
    updater = Updater(
        str(cache),
        "n:///m/",
        target_base_url="n:///t/",
        fetcher=FromNotice(notice),
        config=UpdaterConfig(prefix_targets_with_hash=False),
        bootstrap=root,
    )
    updater.refresh()

    def target(path: str) -> bytes:
        info = updater.get_targetinfo(path)
        assert info is not None
        info.verify_length_and_hashes(notice["targets"][path])
        return bytes(notice["targets"][path])

    offer = msgpack.unpackb(target(f"offers/{model}.offer"))
    raw = target(f"models/{model}/{offer['version']}.release")
    assert hashlib.sha256(raw).digest() == offer["release_sha256"]
    return offer, msgpack.unpackb(raw), raw


def fetch(client: Client, came: queue.Queue[tuple[str, bytes]], payload: dict[str, Any]) -> bytes:
    """Sections 4 and 5: the chunk map, then whole blocks, each chunk believed by its digest."""
    top = f"{PREFIX}/payloads/{payload['sha256'].hex()}"
    digests = b""
    for part, pinned in enumerate(payload["map_parts"]):
        client.subscribe(f"{top}/map/{part}", qos=1)
        raw = came.get(timeout=WAIT_S)[1]
        assert hashlib.sha256(raw).digest() == pinned
        digests += msgpack.unpackb(raw)["digests"]
    size, step = payload["size_bytes"], payload["chunk_size_bytes"]
    count = -(-size // step)
    assert len(digests) == 32 * count
    chunks: dict[int, bytes] = {}
    for block in range(-(-count // 8)):
        client.subscribe(f"{top}/{block}/+", qos=1)
        for _ in range(min(8, count - 8 * block)):
            topic, data = came.get(timeout=WAIT_S)
            index = int(topic.rpartition("/")[2])
            assert topic == f"{top}/{index // 8}/{index}"
            assert hashlib.sha256(data).digest() == digests[32 * index : 32 * index + 32]
            chunks[index] = data
        client.unsubscribe(f"{top}/{block}/+")
    whole = b"".join(chunks[index] for index in range(count))
    assert hashlib.sha256(whole).digest() == payload["sha256"]
    return whole


def test_a_client_written_from_the_wire_document_alone_gets_the_model(
    broker: Broker, tmp_path: Path
) -> None:
    file = tmp_path / "model.onnx"
    original = small_model(file)
    repo, pinned = tmp_path / "repo", tmp_path / "cam-1"
    slotcast(
        "init",
        repo,
        "--broker",
        broker.url,
        "--no-passphrase",
        "--chunk-size",
        4096,
        "--prefix",
        PREFIX,
    )
    slotcast("release", repo, "detector", "1.0", file, "--no-passphrase")
    slotcast("publish", repo, "detector", "1.0")
    slotcast("provision", repo, "cam-1", pinned, "--model", "detector")

    with subscriber(broker) as (client, came):
        client.subscribe(f"{PREFIX}/models/detector/notice", qos=1)
        notice = msgpack.unpackb(came.get(timeout=WAIT_S)[1])
        assert (notice["kind"], notice["format"], notice["requires"]) == ("notice", 1, [])
        root = (pinned / "root.json").read_bytes()
        offer, release, _ = trusted(notice, root, tmp_path / "cache")
        full = next(p for p in offer["payloads"] if p["codec"].startswith("full+"))
        data = fetch(client, came, full)

    if full["codec"] == "full+zstd":
        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
            data = reader.read()
    assert hashlib.sha256(data).digest() == release["image_sha256"]
    files, at = {}, 0
    for entry in release["files"]:
        files[entry["path"]] = data[at : at + entry["size_bytes"]]
        at += entry["size_bytes"]
        assert hashlib.sha256(files[entry["path"]]).digest() == entry["sha256"]
    assert files[release["entry"]] == original
