"""One look at what a broker keeps: what was asked, what came, and when it is over. No I/O.

A look is a SUBSCRIBE for each filter, and all retained messages that follow. Nothing says which is
the last, so it is over when none has come for a while. A broker that dropped the last ones shows it
only by what comes after them, so one topic more is asked for then: the proof.
"""

from __future__ import annotations

import enum


class LookStep(enum.Enum):
    """What a look wants done."""

    WAIT = "wait"
    PROVE = "prove"
    END = "end"


class KeptLook:
    """A look: made before the first SUBSCRIBE, since messages may come before its number is known.

    Args:
        quiet_s: the seconds without a retained message after which no other is expected.
        now_s: the clock, in seconds.

    Attributes:
        retained: how many retained messages have come before its proof was asked for.
        topic: where the last of them came from; empty before the first.
        is_over: whether nothing more of it is expected.
    """

    def __init__(self, quiet_s: float, now_s: float) -> None:
        self.retained = 0
        self.topic = ""
        self.is_over = False
        self._quiet_s = quiet_s
        self._asked: set[int] = set()
        self._moved_s = now_s
        self._is_proving = False
        self._proof: int | None = None
        self._is_proved = False

    @property
    def is_answered(self) -> bool:
        """Whether each of its SUBSCRIBEs was answered."""
        return not self._asked

    def ask(self, number: int) -> None:
        """Take note of one of its SUBSCRIBEs."""
        self._asked.add(number)

    def answer(self, number: int, now_s: float) -> None:
        """Take note of the answer to a SUBSCRIBE."""
        self._asked.discard(number)
        self._moved_s = now_s

    def came(self, topic: str, now_s: float) -> None:
        """Take note of a retained message."""
        self.topic, self._moved_s = topic, now_s
        if self._is_proving:
            self._is_proved = True
        else:
            self.retained += 1

    def begin_proof(self, now_s: float) -> None:
        """The proof is asked for now: before its SUBSCRIBE, for its message may come at once."""
        self._is_proving, self._moved_s = True, now_s

    def ask_proof(self, number: int) -> None:
        """Take note of the SUBSCRIBE for the proof."""
        self._proof = number

    def is_proof(self, number: int) -> bool:
        """Whether a SUBSCRIBE is the one for the proof."""
        return number == self._proof

    def silent_s(self, now_s: float) -> float:
        """How long nothing of it has come."""
        return now_s - self._moved_s

    def next_step(self, now_s: float) -> LookStep:
        """Say what to do now; END once."""
        is_quiet = self._is_proved or self.silent_s(now_s) >= self._quiet_s
        if self.is_over or self._asked or not is_quiet:
            return LookStep.WAIT
        if not self._is_proving and self.topic:
            return LookStep.PROVE
        self.is_over = True
        return LookStep.END
