"""Sees what the device says over MQTT, and can put a message on the broker as anyone could."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Self

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from examples.demo.show import NotObserved
from slotcast_schemas import wire
from slotcast_schemas.messages import Status
from slotcast_schemas.messages.status import ModelStatus
from slotcast_schemas.topics import Topics

_TIMEOUT_S: Final = 10.0


class Watcher:
    """A client of the broker, beside the device's link, that keeps every status of one device."""

    def __init__(self, port: int, topics: Topics, device: str) -> None:
        self._port = port
        self._topic = topics.device(device, "status")
        self._changed = threading.Condition()
        self._seen: list[ModelStatus] = []
        self._retained: dict[str, bytes] = {}
        self._subscribed = threading.Event()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, "watcher", protocol=MQTTProtocolVersion.MQTTv311
        )
        self._client.on_message = self._on_message
        self._client.on_subscribe = lambda *_: self._subscribed.set()

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        self._subscribe(self._topic)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def mark(self) -> int:
        """Give a place in what was seen, for `wait`."""
        with self._changed:
            return len(self._seen)

    def since(self, mark: int) -> list[ModelStatus]:
        """Give what the device said after a mark."""
        with self._changed:
            return self._seen[mark:]

    def wait(
        self,
        what: str,
        holds: Callable[[ModelStatus], bool],
        *,
        after: int,
        timeout_s: float = 30.0,
    ) -> ModelStatus:
        """Wait for a status after a mark for which something holds.

        Raises:
            NotObserved: none came; the message says what the device said last.
        """
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while True:
                for status in self._seen[after:]:
                    if holds(status):
                        return status
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    said = self._seen[-1] if len(self._seen) > after else None
                    last = f"{said.state} ({said.reason}) {said.detail}" if said else "nothing"
                    raise NotObserved(f"{what}: not within {timeout_s:.0f} s; last said: {last}")
                self._changed.wait(left_s)

    def publish(self, topic: str, data: bytes) -> None:
        """Put a retained message on the broker, and wait until the broker has it.

        Raises:
            NotObserved: the broker did not take it.
        """
        info = self._client.publish(topic, data, qos=1, retain=True)
        info.wait_for_publish(_TIMEOUT_S)
        if not info.is_published():
            raise NotObserved(f"the broker did not take a message on {topic}")

    def fetch(self, topic: str) -> bytes:
        """Give the message that the broker keeps under a topic.

        Raises:
            NotObserved: it keeps none.
        """
        self._retained.pop(topic, None)
        self._subscribe(topic)
        with self._changed:
            if not self._changed.wait_for(lambda: topic in self._retained, _TIMEOUT_S):
                raise NotObserved(f"the broker keeps nothing under {topic}")
        self._client.unsubscribe(topic)
        return self._retained[topic]

    def _subscribe(self, topic: str) -> None:
        self._subscribed.clear()
        self._client.subscribe(topic, qos=1)
        if not self._subscribed.wait(_TIMEOUT_S):
            raise NotObserved(f"the broker did not answer a SUBSCRIBE to {topic}")

    def _on_message(self, client: paho.Client, userdata: object, message: paho.MQTTMessage) -> None:
        del client, userdata
        with self._changed:
            if message.topic == self._topic:
                (status,) = wire.decode(bytes(message.payload), Status).models
                self._seen = [*self._seen, status]
            else:
                self._retained[message.topic] = bytes(message.payload)
            self._changed.notify_all()
