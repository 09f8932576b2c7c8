"""Act 1: a device without a model gets its first."""

from __future__ import annotations

from examples.demo.digits import write_onnx
from examples.demo.show import kilobytes
from examples.demo.stage import DEVICE, MODEL, Stage
from slotcast_schemas.states import State


def play(stage: Stage) -> None:
    """Train, release, publish and install version 1.0.

    Raises:
        NotObserved: the device did not install it.
    """
    show = stage.show
    show.act(1, "A first model reaches a device that has none")
    show.say(f"broker {stage.broker.url} (amqtt, MQTT 3.1.1, in this process)")
    show.say(f"device {DEVICE}, behind a link of its own: {stage.link.url}")
    stage.student.learn(epochs=4, share=0.3)
    model = write_onnx(stage.student.layers)
    show.say(f"trained on a part of scikit-learn's digits; ONNX of {kilobytes(len(model))}")
    show.command(f"slotcast release repo {MODEL} 1.0 digits.onnx --samples reference.npz")
    released = stage.release("1.0", model)
    show.command(f"slotcast publish repo {MODEL} 1.0")
    pushed = stage.publish("1.0")
    show.check(
        pushed.messages_sent > len(released.payloads),
        f"the broker acknowledged {pushed.messages_sent} retained messages,"
        f" {kilobytes(pushed.bytes_sent)}; the publisher may go offline now",
    )
    mark = stage.watcher.mark()
    show.command("slotcast-device run")
    stage.device.start()
    status = stage.settled("1.0", State.COMMITTED, after=mark)
    sha256 = released.release.files[0].sha256
    show.check(
        status.active is not None and status.active.files[0].sha256 == sha256,
        f"the device reports COMMITTED with the very SHA-256 that was signed: {sha256.hex()[:16]}…",
    )
    show.check(
        (stage.device.current / "digits.onnx").read_bytes() == model,
        f"current -> {stage.device.current.readlink()} holds the model, byte for byte",
    )
    accuracy = stage.accuracy()
    show.check(
        0.5 < accuracy < 1,
        f"opened through `current`, it reads {accuracy:.1%} of"
        f" {len(stage.digits.held_y)} held-out digits rightly",
    )
    stage.first_notice = stage.watcher.fetch(stage.repo.topics.notice(MODEL))
    stage.hire_application()
    show.say("an application begins to read digits, 50 times a second, until the end")
