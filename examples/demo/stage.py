"""Everything that is on stage, and the steps that several acts share."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Self

from examples.demo.application import Application, open_model, read_digits
from examples.demo.broker import EmbeddedBroker
from examples.demo.device import Device
from examples.demo.digits import Digits, Student
from examples.demo.link import BadLink
from examples.demo.show import NotObserved, Show, kilobytes, short
from examples.demo.watch import Watcher
from slotcast_publisher.delivery.broker_delivery import Pushed
from slotcast_publisher.delivery.publish import How, publish
from slotcast_publisher.provision import provision
from slotcast_publisher.release.build import Released
from slotcast_publisher.release.delta_payloads import BUILDERS
from slotcast_publisher.release.payloads import FullBuilder
from slotcast_publisher.release.release_request import ReleaseRequest
from slotcast_publisher.repository import Repository
from slotcast_publisher.settings import Broker, Settings
from slotcast_schemas.messages.offer import Payload
from slotcast_schemas.messages.release import Trial
from slotcast_schemas.messages.status import ModelStatus
from slotcast_schemas.states import State

MODEL: Final = "digits"
DEVICE: Final = "camera-7"
POLL_S: Final = 0.05
SETTLED_S: Final = 400.0
"""A probe has five times its 60 s where it waits for a processor (docs/health-check.md)."""


class Stage:
    """Broker, publisher, link and device, for as long as the `with` block lasts.

    Attributes:
        first_notice: of 1.0, as the broker had it; for the replay.
    """

    def __init__(self, show: Show, folder: Path) -> None:
        self.show = show
        self.folder = folder
        self.digits = Digits()
        self.student = Student(self.digits)
        self.application: Application | None = None
        self.first_notice = b""
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.broker = stack.enter_context(EmbeddedBroker())
            self.link = stack.enter_context(BadLink(self.broker.port))
            # amqtt speaks 3.1.1 only. A device finds that out by itself, in ten seconds.
            settings = Settings(brokers=(Broker(url=self.broker.url, protocol="3.1.1"),))
            self.repo = Repository.init(self.folder / "repo", settings)
            done = provision(
                self.repo, DEVICE, self.folder / "device", models=[MODEL], brokers=[self.link.url]
            )
            self.watcher = stack.enter_context(Watcher(self.broker.port, self.repo.topics, DEVICE))
            self.device = stack.enter_context(Device(done.folder, MODEL))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def hire_application(self) -> Application:
        """Start the application; it works until the end of the story."""
        made = Application(self.device.current, self.digits.held_x)
        self.application = self._stack.enter_context(made)
        return made

    # --- the publisher ------------------------------------------------------------------------

    def release(
        self,
        version: str,
        model: bytes,
        trial: Trial | None = None,
        *,
        deltas: bool = True,
        is_probed: bool = True,
    ) -> Released:
        """Release a model with the student's samples.

        Args:
            version: of the release.
            model: its file.
            trial: how it is put on trial; as usual unless given.
            deltas: pack it as deltas too, or only whole.
            is_probed: ask beforehand what devices will say; bad models are released without.
        """
        folder = self.folder / "work" / version
        folder.mkdir(parents=True)
        (folder / "digits.onnx").write_bytes(model)
        self.student.write_samples(folder / "reference.npz")
        return self.repo.build_release(
            ReleaseRequest(
                model=MODEL,
                version=version,
                files=(folder / "digits.onnx",),
                samples=folder / "reference.npz",
                trial=trial or Trial(),
                is_probed=is_probed,
            ),
            builders=BUILDERS if deltas else (FullBuilder(),),
        )

    def publish(self, version: str, *, send_all: bool = False, quietly: bool = False) -> Pushed:
        """Offer a release to everyone, and push it."""
        with self.show.bar(f"push {version}", quietly=quietly) as bar:
            how = How(
                send_all=send_all,
                progress=lambda _, tally: bar.at(tally.done_bytes, tally.total_bytes),
            )
            (pushed,) = publish(self.repo, MODEL, version, how=how).all_done()
        return pushed

    def payload_file(self, version: str, payload: Payload) -> Path:
        """Give the file of a payload, as the publisher has it."""
        return self.repo.store.folder(MODEL, version).payload_file(payload)

    # --- the device ---------------------------------------------------------------------------

    def settled(
        self, version: str, *states: State, after: int, timeout_s: float = SETTLED_S
    ) -> ModelStatus:
        """Wait until the device says that it is done with a version.

        Raises:
            NotObserved: it did not, in time.
        """
        return self.watcher.wait(
            f"{' or '.join(states)} of {version}",
            lambda s: s.state in states and s.target is not None and s.target.version == version,
            after=after,
            timeout_s=timeout_s,
        )

    def accuracy(self) -> float:
        """Open `current`, and give the share of held-out digits that it reads rightly."""
        session = open_model(self.device.current)
        return float((read_digits(session, self.digits.held_x) == self.digits.held_y).mean())

    def readings(self, count: int = 12) -> list[int]:
        """Open `current`, and give what it reads in the first held-out digits."""
        session = open_model(self.device.current)
        return [int(digit) for digit in read_digits(session, self.digits.held_x[:count])]

    @contextlib.contextmanager
    def unharmed(self) -> Iterator[None]:
        """Check that what happens inside leaves the application with the model it had."""
        application = self.application
        if application is None:
            raise NotObserved("there is no application")
        version, slot = application.version, self.device.current.readlink()
        before, errors = application.answers[version], application.errors.total()
        yield
        self.until(lambda: application.answers[version] > before, f"{version} answers")
        self.show.check(
            application.version == version
            and self.device.current.readlink() == slot
            and application.errors.total() == errors,
            f"{version} answered {application.answers[version] - before} requests meanwhile,"
            " none failed",
        )

    def until(self, holds: Callable[[], bool], what: str, timeout_s: float = 20.0) -> None:
        """Wait until something holds.

        Raises:
            NotObserved: it did not, in time.
        """
        deadline_s = time.monotonic() + timeout_s
        while not holds():
            if time.monotonic() > deadline_s:
                raise NotObserved(f"{what}: not within {timeout_s:.0f} s")
            time.sleep(POLL_S)


def told(status: ModelStatus) -> str:
    """Write down what the device says of a model."""
    return f"{status.state} ({status.reason}) {short(status.detail)}"


def payload_lines(released: Released) -> list[list[str]]:
    """Give what each payload of a release saves, for a table."""
    return [
        [
            record.payload.codec,
            record.payload.base.version if record.payload.base else "-",
            kilobytes(record.payload.size_bytes),
            str(record.payload.chunk_count),
            f"{record.saved_share:.0%}",
        ]
        for record in released.payloads
    ]
