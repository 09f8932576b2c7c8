"""The embedded broker of the demo speaks MQTT 3.1.1 only; publishing finds that out by itself."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from amqtt.broker import Broker

from slotcast_publisher.delivery.broker_connect import fetch_retained, open_link
from slotcast_publisher.delivery.publish import publish
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Broker as Address
from slotcast_publisher.settings import Settings
from tests.support import models
from tests.support.ports import free_ports
from tests.support.waiting import WAIT_S


@pytest.fixture
def embedded() -> Iterator[str]:
    (port,) = free_ports(1)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> Broker:
        config = {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {}},
        }
        broker = Broker(config)
        await broker.start()
        return broker

    broker = asyncio.run_coroutine_threadsafe(start(), loop).result(WAIT_S)
    yield f"mqtt://127.0.0.1:{port}"
    asyncio.run_coroutine_threadsafe(broker.shutdown(), loop).result(WAIT_S)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(WAIT_S)
    loop.close()
    del broker
    gc.collect()  # amqtt leaves transports open; they are counted here, and not at another test


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # amqtt's own
def test_the_embedded_broker_takes_a_release(embedded: str, tmp_path: Path) -> None:
    address = Address(url=embedded)
    repo = Repository.init(tmp_path / "repo", Settings(chunk_size_bytes=4096, brokers=(address,)))
    (tmp_path / "model.onnx").write_bytes(models.classifier(hidden=256))
    repo.build_release(ReleaseRequest(model="clf", version="1.0", files=(tmp_path / "model.onnx",)))
    done = publish(repo, "clf", "1.0").all_done()
    assert done[0].protocol == "3.1.1"
    assert publish(repo, "clf", "1.0").all_done()[0].messages_sent == 1
    with open_link(address, Path()) as link:
        assert fetch_retained(link, repo.topics.notice("clf"), 30.0) == repo.build_notice("clf")
