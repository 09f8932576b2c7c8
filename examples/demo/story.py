"""The story: its acts in order, from the first model to the last."""

from __future__ import annotations

from pathlib import Path

from examples.demo import attacks, badlink, firstmodel, rollout, zoo
from examples.demo.show import NotObserved, Show
from examples.demo.stage import Stage


def play(show: Show, folder: Path) -> None:
    """Play all acts.

    Raises:
        NotObserved: a step did not happen; what the device logged was shown.
        SlotcastError: the publisher's side failed.
    """
    with Stage(show, folder) as stage:
        try:
            firstmodel.play(stage)
            badlink.play(stage)
            attacks.play(stage)
            zoo.play(stage)
            rollout.play(stage)
        except NotObserved:
            show.say("the device's log ends with:")
            show.say(stage.device.log_tail())
            raise
    show.ending()
