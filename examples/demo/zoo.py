"""Act 4: bad models, all of them truly signed and delivered whole; then a good one.

Some are refused by the probe before the switch, one by the trial after it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from examples.demo import bad_models
from examples.demo.careless import without_checks
from examples.demo.digits import Layers, write_onnx
from examples.demo.show import NotObserved, short
from examples.demo.stage import MODEL, Stage, told
from slotcast_schemas.errors import ModelFailed
from slotcast_schemas.messages.release import Trial
from slotcast_schemas.messages.status import ModelStatus
from slotcast_schemas.states import State

_TRIAL: Final = Trial(duration_s=2.0, min_requests=20, max_latency_ratio=10.0)
"""Short, for a demo; and a machine that does other work meanwhile must not spoil it."""


@dataclass(frozen=True)
class Bad:
    """A bad model, and the reason for which the device must refuse it."""

    version: str
    what: str
    make: Callable[[Layers], bytes]
    reason: str
    checked: bool = True
    """Whether the publisher's own check lets it pass; otherwise that is left out."""
    probe_timeout_s: float = 60.0


ZOO: Final = (
    Bad("3.1", "half of a layer's weights are damaged", bad_models.damaged, "golden_mismatch"),
    Bad("3.2", "answers NaN", bad_models.not_a_number, "nonfinite_output"),
    Bad("3.3", "is more than 10 x slower", bad_models.slow, "too_slow"),
    Bad("3.4", "wants 4 TiB of memory", bad_models.memory_hungry, "too_much_memory", checked=False),
    Bad("3.5", "crashes the runtime", bad_models.crashes, "probe_crashed", checked=False),
    Bad(
        "3.6",
        "never answers",
        bad_models.hangs,
        "probe_timeout",
        checked=False,
        probe_timeout_s=4.0,
    ),
)


def play(stage: Stage) -> None:
    """Publish one bad model after another, then a good one.

    Raises:
        NotObserved: a bad one stayed, or was refused for another reason, or a good one was not
            taken.
    """
    show = stage.show
    show.act(4, "Bad models, truly signed, arrive whole; none may stay")
    _publisher_refuses(stage)
    for bad in ZOO:
        with stage.unharmed():
            status = _offer(stage, bad)
            show.check(status.reason == bad.reason, f"{bad.version} {bad.what}: {told(status)}")
            if bad.reason == "too_slow":
                _check_slowness(stage, status)
    _fails_live(stage)
    _good_one(stage)


def _publisher_refuses(stage: Stage) -> None:
    for version, make in (("3.0.1", bad_models.crashes), ("3.0.2", bad_models.damaged)):
        try:
            stage.release(version, make(stage.student.layers), deltas=False)
        except ModelFailed as exc:
            stage.show.check(True, f"the publisher refuses one by itself: {short(str(exc))}")
        else:
            raise NotObserved(f"the publisher released {version}, which no device would keep")
    stage.show.say("what its check and devices' own probe would stop is signed without them below")


def _offer(stage: Stage, bad: Bad, trial: Trial | None = None) -> ModelStatus:
    """Release and publish a bad model, and give what the device says in the end."""
    mark = stage.watcher.mark()
    good = stage.folder / "work" / "3.0" / "digits.onnx"
    check = without_checks(good, probe_timeout_s=bad.probe_timeout_s)
    with contextlib.nullcontext() if bad.checked else check:
        stage.release(
            bad.version, bad.make(stage.student.layers), trial, deltas=False, is_probed=False
        )
    stage.publish(bad.version, quietly=True)
    return stage.settled(bad.version, State.FAILED, State.ROLLED_BACK, State.COMMITTED, after=mark)


def _check_slowness(stage: Stage, status: ModelStatus) -> None:
    """Read both models' latency from the evidence: measured by one child, at the same time."""
    checks = () if status.evidence is None else status.evidence.checks
    found = next((c for c in checks if c.name == "latency_p50"), None)
    if found is None or found.value is None or found.reference is None:
        raise NotObserved("the evidence has no latency of both models")
    ratio = found.value / found.reference
    stage.show.check(ratio >= 10, f"by the evidence in its status, {ratio:.0f} x slower than 3.0")


def _fails_live(stage: Stage) -> None:
    """One that the probe cannot find out: it fails with the application's own requests."""
    show, application = stage.show, stage.application
    if application is None:
        raise NotObserved("there is no application")
    bad = Bad("3.7", "fails under live traffic", bad_models.one_at_a_time, "errors")
    before, mark = stage.device.current.readlink(), stage.watcher.mark()
    status = _offer(stage, bad, _TRIAL)
    said = [s for s in stage.watcher.since(mark) if s.state is State.TRIAL]
    show.check(bool(said), f"{bad.version} passes the probe, and serves on trial")
    show.check(
        status.state is State.ROLLED_BACK and status.reason == bad.reason,
        f"{bad.version} {bad.what}: {told(status)}",
    )
    stage.until(lambda: application.version == "3.0", "3.0 answers again")
    answered = application.answers["3.0"]
    stage.until(lambda: application.answers["3.0"] > answered, "3.0 answers again")
    show.check(
        stage.device.current.readlink() == before and set(application.errors) == {bad.version},
        f"3.0 answers again; only {bad.version} ever failed a request"
        f" ({application.errors[bad.version]}, until it was rolled back)",
    )


def _good_one(stage: Stage) -> None:
    show, application = stage.show, stage.application
    if application is None:
        raise NotObserved("there is no application")
    stage.student.learn(epochs=4)
    model, mark = write_onnx(stage.student.layers), stage.watcher.mark()
    stage.release("4.0", model, _TRIAL, deltas=False)
    show.command(f"slotcast publish repo {MODEL} 4.0")
    stage.publish("4.0", quietly=True)
    status = stage.settled("4.0", State.COMMITTED, State.FAILED, State.ROLLED_BACK, after=mark)
    show.check(
        status.state is State.COMMITTED
        and (stage.device.current / "digits.onnx").read_bytes() == model,
        f"a good 4.0 is taken: {status.state}, after a trial of {_TRIAL.duration_s:.0f} s with at"
        f" least {_TRIAL.min_requests} live requests",
    )
    accuracy = stage.accuracy()
    show.check(accuracy > 0.9, f"opened through `current`, it reads {accuracy:.1%} rightly")
    show.check(
        set(application.errors) == {"3.7"} and application.answers["4.0"] > 0,
        f"the application's {application.answers.total()} answers came from"
        f" {', '.join(sorted(application.answers))}, without a pause",
    )
