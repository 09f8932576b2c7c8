"""An update through a three-node NATS JetStream cluster, whole and with a node killed in it.

Everything of the device is as shipped; the link is throttled only where a node is killed, so
that the kill falls into the middle of the transfer.
"""

from __future__ import annotations

import queue
import time
from pathlib import Path
from typing import Final

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from benchmarks.report import CannotRun, Figure, Options
from slotcast_publisher import provision as provisioning
from slotcast_publisher.settings import Settings
from tests.support import models as zoo
from tests.support.engine import BrokerUnavailable
from tests.support.fleet import Device, Publisher
from tests.support.nats import Node, cluster
from tests.support.proxy import Plan, Proxy

MODEL: Final = "clf"
TIMEOUT_S: Final = 300.0
_LINK_BITS_PER_S: Final = 16e6


def run(options: Options) -> list[Figure]:
    """Publish to one node, fetch from another, then kill the one that is fetched from."""
    size_bytes = 2_000_000 if options.quick else 8_600_000
    try:
        with cluster(options.work / "nats") as nodes:
            return _run(options, nodes, zoo.large(size_bytes=size_bytes))
    except BrokerUnavailable as exc:
        raise CannotRun(str(exc)) from exc


def _run(options: Options, nodes: list[Node], model: bytes) -> list[Figure]:
    publisher = Publisher.make(options.work / "repo", nodes[0].url, settings=Settings())
    publisher.release(MODEL, "1", {"model.onnx": model})
    began_s = time.monotonic()
    publisher.publish(MODEL, "1")
    published_s = time.monotonic() - began_s
    payload = publisher.repo.offered_folder(MODEL).payloads()[0].payload
    topics, sha256 = publisher.topics, payload.sha256
    one_s = _last_chunk_s(nodes[1], [topics.block(sha256, 0)], 8)
    eight_s = _last_chunk_s(nodes[1], [topics.block(sha256, n) for n in range(1, 9)], 64)
    all_s = _last_chunk_s(nodes[1], [topics.everything(sha256)], payload.chunk_count)
    with Proxy((nodes[1].host, nodes[1].port)) as proxy:
        took_s = _fetch(_device(publisher, options.work / "whole", proxy), None, nodes)
        subscribes = proxy.counters.up_packets["SUBSCRIBE"]
        down_bytes = proxy.counters.down_bytes
    with Proxy((nodes[1].host, nodes[1].port), Plan(down_bits_per_s=_LINK_BITS_PER_S)) as proxy:
        device = _device(publisher, options.work / "killed", proxy, nodes[2].url, nodes[0].url)
        after_s = _fetch(device, (proxy, payload.size_bytes // 3), nodes)
        before_bytes = proxy.counters.down_bytes
    return [
        Figure("payload", payload.size_bytes, "bytes"),
        Figure("published", published_s, "s"),
        Figure("one filter for a block: until its last chunk", one_s, "s"),
        Figure("eight filters for eight blocks, one SUBSCRIBE", eight_s, "s"),
        Figure("one filter for everything", all_s, "s"),
        Figure("fetched from another node and committed", took_s, "s", limit=30.0),
        Figure("SUBSCRIBE packets for it", subscribes, "", limit=8, note="by blocks it is some 35"),
        Figure("down / payload", down_bytes / payload.size_bytes, "ratio", limit=1.02),
        Figure("node killed after", before_bytes, "bytes"),
        Figure("from the kill to committed", after_s, "s", limit=120.0),
    ]


def _last_chunk_s(node: Node, filters: list[str], chunks: int) -> float:
    """Subscribe as a bare client; give the seconds until so many chunks came."""
    came: queue.SimpleQueue[float] = queue.SimpleQueue()
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
    client.on_connect = lambda *_: came.put(0.0)
    client.on_message = lambda *_: came.put(time.monotonic())
    client.connect(node.host, node.port)
    client.loop_start()
    try:
        came.get(timeout=TIMEOUT_S)
        began_s = time.monotonic()
        client.subscribe([(name, 1) for name in filters])
        return max(came.get(timeout=TIMEOUT_S) for _ in range(chunks)) - began_s
    finally:
        client.disconnect()
        client.loop_stop()


def _device(publisher: Publisher, folder: Path, proxy: Proxy, *others: str) -> Device:
    urls = (f"mqtt://127.0.0.1:{proxy.port}", *others)
    provisioning.provision(publisher.repo, folder.name, folder, models=(MODEL,), brokers=urls)
    return Device(folder / "device.toml")


def _fetch(device: Device, kill: tuple[Proxy, int] | None, nodes: list[Node]) -> float:
    """Run a device until it committed; gives the seconds since the start, or since the kill."""
    process = device.spawn("--once", "--timeout", str(TIMEOUT_S))
    began_s = time.monotonic()
    try:
        if kill is not None:
            proxy, mark = kill
            proxy.wait_for(lambda c: c.down_bytes > mark, TIMEOUT_S)
            nodes[1].kill()
            began_s = time.monotonic()
        code = process.wait(TIMEOUT_S)
    finally:
        if not process.ends_within(0):
            process.kill()
    if code != 0:
        raise CannotRun(f"the device ended with {code}:\n{process.stderr[-3000:]}")
    return time.monotonic() - began_s
