"""What the agent says of itself: status and metrics to the broker, a view to the disk, the log."""

from __future__ import annotations

import functools
import logging
import time
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from slotcast_device.core.signed_time import clock_word
from slotcast_device.reporting.agent_view import ViewWriter, live_model
from slotcast_device.reporting.change_log import ChangeLog
from slotcast_device.reporting.log_format import FACTS
from slotcast_device.reporting.metrics_collector import MetricsCollector
from slotcast_device.reporting.openmetrics import LinkTotals
from slotcast_device.reporting.status_message import StatusPublisher, no_notice, with_link
from slotcast_schemas.errors import StorageFailed
from slotcast_schemas.signed_report import encode_report

if TYPE_CHECKING:
    from collections.abc import Sequence

    from slotcast_device.config import DeviceConfig
    from slotcast_device.core.events import Now
    from slotcast_device.core.model import ModelCore
    from slotcast_device.core.state import ModelState
    from slotcast_device.link.connection import Connection
    from slotcast_device.storage.disk import Disk
    from slotcast_schemas.messages.status import LinkStatus
    from slotcast_schemas.signed_report import Report, Signer

_LOG: Final = logging.getLogger("slotcast.device")


class AgentReports:
    """Says what there is to say, each where somebody takes it.

    Args:
        config: who this device is, and where its state is.
        disk: where counters and figures are kept.
        connection: to the broker.
        cores: the models', whose status is said.
        wall_s: the time of day, Unix.
        signer: the device's own key; None where it has none that works, so that nothing is signed.

    Attributes:
        is_due: whether the status has changed since it was sent last.
    """

    def __init__(
        self,
        config: DeviceConfig,
        disk: Disk,
        connection: Connection,
        cores: Sequence[ModelCore],
        wall_s: int,
        signer: Signer | None = None,
    ) -> None:
        self._config = config
        self._signer = signer
        self._connection = connection
        self._cores = cores
        self._status = StatusPublisher(config, disk, self._encode)
        self._view = ViewWriter(config.state_dir, wall_s)
        self._changes = {core.model: ChangeLog() for core in cores}
        self._collector = MetricsCollector(config, disk)
        self.is_due = False

    # --- to the broker ------------------------------------------------------------------------

    def send(self, now: Now) -> None:
        """Send status and metrics, while somebody takes them; no status before the first look.

        A start hashes the slots; the connection may be there long before that is done.
        """
        link = self._connection.link
        if link is None or not self._connection.is_up:
            return
        if self.is_due and all(core.has_looked for core in self._cores):
            topic, data = self._status.status(
                [core.status() for core in self._cores],
                self._with_traffic(self._connection.state.status),
                clock_word(now.wall_s, self._states(), self._config.root_expires_s),
                packet_max_bytes=link.packet_max_bytes,
                wall_s=now.wall_s,
            )
            if link.publish(topic, data, retain=True):
                self.is_due = False
        metrics = self._collector.next_message(now)
        if metrics is not None:
            topic = self._config.topics.device(self._config.values.device, "metrics")
            acked = functools.partial(self._collector.confirmed, metrics)
            if not link.publish(topic, self._encode(metrics), acked=acked):
                self._collector.link_lost()  # too much waits already: the same again, later

    def _encode(self, report: Report) -> bytes:
        """Sign a report; without a signature once the key cannot be used any more."""
        try:
            return encode_report(report, self._signer)
        except StorageFailed as exc:
            _LOG.warning("from now on nothing that this device reports is signed: %s", exc)
            self._signer = None
            return encode_report(report, None)

    def _with_traffic(self, said: LinkStatus) -> LinkStatus:
        """Say what came, too; not in the view, which would be written again for each ping."""
        return replace(
            said,
            received_bytes=self._connection.traffic.received_bytes,
            useless_bytes=self._connection.useless_bytes,
        )

    def _states(self) -> list[ModelState]:
        return [core.state for core in self._cores]

    # --- figures ------------------------------------------------------------------------------

    @property
    def deadline_s(self) -> float | None:
        """When figures are to be collected."""
        return self._collector.deadline_s

    def collect_due(self, now: Now) -> None:
        """Collect every model's figures, if it is time to."""
        if now.mono_s < self._collector.deadline_s:
            return
        connection = self._connection
        link = LinkTotals(
            connection.traffic.received_bytes,
            connection.useless_bytes,
            len(connection.state.status.left),
        )
        self._collector.collect_due(self._states(), now, link)

    def collect(self, state: ModelState, now: Now) -> None:
        """Collect one model's figures up to now: before a switch, and after a trial's end."""
        self._collector.collect(state, now)

    def connection_lost(self) -> None:
        """What was under way to the broker is sent again."""
        self._collector.link_lost()

    def save(self) -> None:
        """Keep the figures that were not sent over the end of this process."""
        self._collector.save()

    # --- to the disk --------------------------------------------------------------------------

    def show(self, now: Now) -> None:
        """Leave what only this process knows where `slotcast-device status` finds it."""
        link, is_up = self._connection.link, self._connection.is_up
        said = self._connection.state.status
        if not self._view.is_due(now.mono_s, is_connected=is_up, link=said):
            return
        statuses = [with_link(core.status(), said) for core in self._cores]
        error = self._connection.last_error
        self._view.update(
            now.mono_s,
            now.wall_s,
            broker="" if link is None else link.broker.name,
            protocol=link.version if link is not None and is_up else "",
            is_connected=is_up,
            problem="" if is_up or error is None else f"{error.reason}: {error}",
            models={status.model: live_model(status) for status in statuses},
            link=said,
        )

    # --- to the log ---------------------------------------------------------------------------

    def log_changes(self, core: ModelCore) -> None:
        """Log what is new of a model, once what the status speaks of is done."""
        name = core.model
        for line in self._changes[name].look(core.status(), time.monotonic()):
            facts = {"model": name, "event": line.event, **line.facts}
            _LOG.log(line.level, "%s: %s", name, line.text, extra={FACTS: facts})

    def log_missing_notices(self) -> None:
        """Say of which models no notice came from the broker of this connection."""
        said = no_notice(self._connection.state.status)
        for core in self._cores:
            if not core.notices_seen:
                _LOG.warning("%s: no_notice: %s", core.model, said)

    def summary(self) -> str:
        """Say in a line where the link and the models stand."""
        link = "online" if self._connection.is_up else "offline"
        states = (f"{status.model} {status.state}" for status in (c.status() for c in self._cores))
        return f"{link}; {', '.join(states)}"
