"""Asks for the next certificate before the present one ends, and connects anew with what came.

A certificate is no secret, and no secret is needed to trust what comes over the broker: a
certificate that is not for this device's key is refused, and one that the broker refuses is set
aside for what was there before (`core.certificate_choice`). A person may bring one, too:
`slotcast-device certificate install`.
"""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING, Final

from slotcast_device.core.certificate_choice import RenewalTimes
from slotcast_schemas import wire
from slotcast_schemas.errors import RefusedRelease, StorageFailed, UsageError
from slotcast_schemas.messages import Certificate, Renewal

if TYPE_CHECKING:
    from slotcast_device.config import BrokerConfig, DeviceConfig
    from slotcast_device.core.events import Now
    from slotcast_device.link.connection import Connection
    from slotcast_device.storage.client_certificates import ClientCertificates

_LOG: Final = logging.getLogger("slotcast.device")

LOOK_S: Final = 5.0
"""The seconds between two looks whether a certificate is there to be shown, or to be asked for."""


class CertificateRenewal:
    """Keeps a device's certificates from ending.

    Args:
        config: who this device is, and where its brokers are.
        certificates: what it has.
        connection: how it asks.
    """

    def __init__(
        self, config: DeviceConfig, certificates: ClientCertificates, connection: Connection
    ) -> None:
        device = config.values.device
        self._device = device
        self._brokers = {broker.name: broker for broker in config.values.brokers}
        self._certificates = certificates
        self._connection = connection
        self._ask_topic = config.topics.device(device, "renewal")
        self._answer_topic = config.topics.device(device, "certificate")
        self._times = RenewalTimes(hashlib.sha256(device.encode()).digest()[0] / 255)
        self._asked: bytes | None = None
        self._look_s = 0.0

    def look(self, now: Now) -> None:
        """Show a certificate that is new, or ask for one where the present one ends soon."""
        held = self._certificates.in_use
        if held is None or now.mono_s < self._look_s:
            return
        broker = self._broker()
        if broker is None:
            return
        self._look_s = now.mono_s + LOOK_S
        if self._certificates.has_newer(broker, now.wall_s, now.mono_s):
            self._connection.connect_anew("there is a new certificate")
        elif self._times.is_due(held, now.wall_s, now.mono_s):
            self._times.asked(now.mono_s)
            self._ask(broker)

    def answered(self, data: bytes, now: Now) -> None:
        """Keep the certificate that was asked for; what nobody asked for is passed over."""
        try:
            answer = wire.decode(data, Certificate)
        except RefusedRelease as exc:
            _LOG.warning("the answer to a renewal cannot be read: %s", exc)
            return
        if answer.device != self._device or answer.request != self._asked:
            return
        self._asked = None
        self._connection.wanted_came(len(data))
        if not answer.certificate:
            _LOG.warning("no new certificate: %s: %s", answer.reason, answer.detail)
            return
        try:
            new = self._certificates.install(answer.certificate, "the answer", now.wall_s)
        except (UsageError, StorageFailed) as exc:
            _LOG.warning("the new certificate is not kept: %s", exc)
            return
        _LOG.info("there is a certificate with serial number %s", new.serial)
        self._look_s = now.mono_s

    def _ask(self, broker: BrokerConfig) -> None:
        link = self._connection.link
        try:
            found = self._certificates.request(broker)
        except (UsageError, StorageFailed) as exc:
            _LOG.warning("no certificate can be asked for: %s", exc)
            return
        if link is None or found is None:
            return
        request, present = found
        self._asked = hashlib.sha256(request).digest()
        asked = Renewal(device=self._device, request=request, certificate=present)
        link.subscribe((self._answer_topic,))
        link.publish(self._ask_topic, wire.encode(asked))
        _LOG.info("the certificate ends soon; asked for the next one")

    def _broker(self) -> BrokerConfig | None:
        link = self._connection.link
        if link is None or not self._connection.is_up:
            return None
        return self._brokers.get(link.broker.name)
