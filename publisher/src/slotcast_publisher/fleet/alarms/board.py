"""What is raised, what is cleared, and how often. No I/O; the clock is an argument.

An alarm stands from the moment it is raised to the moment it is cleared, and is said at both, once.
More than a few of one kind at once are one alarm, the *crowd*, which counts them: what has a common
cause is one thing to look after. While a crowd stands, no single ones of its kind are raised; those
that stood before are cleared when they end, as ever.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import msgspec

from slotcast_publisher.alarm_settings import AlarmSettings
from slotcast_publisher.fleet.alarms.kinds import FACTS, AlarmKind
from slotcast_publisher.fleet.alarms.rules import Finding, Judgement

CROWD: Final = "*"
"""The subject of an alarm that counts many; no device, model, rollout or broker has that name."""

SUBJECTS_MAX: Final = 10
"""The most subjects that a crowd names as examples."""

_GROWN: Final = 2
"""A crowd that is so many times what was last said of it is said again."""

_UPDATED_EVERY_S: Final = 60.0
"""The least seconds between two changes to the words of an alarm that stands, if all is the same
but for them."""

_HOUR_S: Final = 3_600.0

Word = Literal["raised", "grew", "cleared"]
"""What is said of an alarm."""


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """An alarm. Times are seconds since 1970 by this machine's clock.

    Attributes:
        kind: what kind of condition it is.
        subject: what it is about; `CROWD` for many.
        raised_s: when it was raised.
        updated_s: when its text or count changed last.
        cleared_s: when it was cleared; None while it stands.
        text: a sentence for people.
        count: how many it is about.
        subjects: some of them, or its own subject.
        names: `device`, `model`, `rollout`, `broker`, as far as it is about one.
    """

    kind: AlarmKind
    subject: str
    raised_s: float
    updated_s: float
    cleared_s: float | None = None
    text: str = ""
    count: int = 1
    subjects: tuple[str, ...] = ()
    names: dict[str, str] = {}

    @property
    def key(self) -> tuple[AlarmKind, str]:
        """What stands only once."""
        return self.kind, self.subject


@dataclass(frozen=True, slots=True)
class AlarmChange:
    """What has become of an alarm; said, unless `word` is None: then only its words are others."""

    word: Word | None
    alarm: Alarm


@dataclass(slots=True)
class _KindState:
    """What is remembered of a kind.

    Attributes:
        since_s: since when each condition holds.
        over_s: since when the condition of each standing alarm has ended.
        said_count: what was last said of the crowd.
        raised_s: the times of the last alarms raised, for the bound of an hour.
    """

    since_s: dict[str, float] = field(default_factory=dict)
    over_s: dict[str, float] = field(default_factory=dict)
    said_count: int = 0
    raised_s: deque[float] = field(default_factory=deque)


class Board:
    """The alarms that stand.

    Args:
        settings: how many are named, and how often they are raised.
        standing: those that stood when the last process ended.
    """

    def __init__(self, settings: AlarmSettings, standing: Iterable[Alarm] = ()) -> None:
        self._settings = settings
        self._standing = {alarm.key: alarm for alarm in standing}
        self._kinds = {kind: _KindState() for kind in AlarmKind}
        for alarm in self._standing.values():
            if alarm.subject == CROWD:
                self._kinds[alarm.kind].said_count = alarm.count

    @property
    def standing(self) -> tuple[Alarm, ...]:
        """The alarms that stand, in the order in which they were raised."""
        return tuple(self._standing.values())

    def step(self, judgement: Judgement, now_s: float) -> list[AlarmChange]:
        """Take in what holds now; give what has changed, in the order in which it is to be said.

        Args:
            judgement: of the present facts.
            now_s: the clock, in seconds.
        """
        by_kind: dict[AlarmKind, list[Finding]] = {kind: [] for kind in AlarmKind}
        for finding in judgement.findings:
            by_kind[finding.kind].append(finding)
        changes: list[AlarmChange] = []
        for kind, findings in by_kind.items():
            if kind in judgement.unknown:
                # What was not looked at has neither lasted nor ended meanwhile.
                self._kinds[kind].since_s.clear()
                self._kinds[kind].over_s.clear()
                continue
            changes += self._step_kind(kind, findings, now_s)
        return changes

    def _step_kind(
        self, kind: AlarmKind, findings: Sequence[Finding], now_s: float
    ) -> list[AlarmChange]:
        state = self._kinds[kind]
        holding = {finding.subject: finding for finding in findings if finding.holds}
        present = {finding.subject: finding for finding in findings}
        state.since_s = {s: min(now_s, state.since_s.get(s, now_s)) for s in holding}
        changes = self._clear_singles(kind, present, now_s)
        changes += self._refresh(kind, holding, now_s)
        changes += self._step_crowd(kind, holding, now_s)
        if (kind, CROWD) not in self._standing:
            changes += self._raise_singles(kind, holding, now_s)
        return changes

    # --- single ones ------------------------------------------------------------------------------

    def _clear_singles(
        self, kind: AlarmKind, present: dict[str, Finding], now_s: float
    ) -> list[AlarmChange]:
        changes = []
        for subject in self._subjects(kind):
            if subject in present:
                self._kinds[kind].over_s.pop(subject, None)
            elif self._is_over(kind, subject, now_s):
                changes.append(self._clear(kind, subject, now_s))
        return changes

    def _raise_singles(
        self, kind: AlarmKind, holding: dict[str, Finding], now_s: float
    ) -> list[AlarmChange]:
        changes = []
        for subject, finding in holding.items():
            if (kind, subject) in self._standing or not self._has_lasted(kind, subject, now_s):
                continue
            if not self._may_raise(kind, now_s):
                break  # the next look tries again
            alarm = Alarm(
                kind=kind,
                subject=subject,
                raised_s=now_s,
                updated_s=now_s,
                text=finding.text,
                subjects=(subject,),
                names=dict(finding.names),
            )
            changes.append(self._raise(alarm))
        return changes

    def _refresh(
        self, kind: AlarmKind, holding: dict[str, Finding], now_s: float
    ) -> list[AlarmChange]:
        """Bring the words of those that stand up to date, now and then."""
        changes = []
        for subject in self._subjects(kind):
            alarm, finding = self._standing[kind, subject], holding.get(subject)
            is_new = finding is not None and finding.text != alarm.text
            if finding is not None and is_new and self._may_update(alarm, now_s):
                changes.append(self._change(alarm, now_s, text=finding.text))
        return changes

    # --- many at once -----------------------------------------------------------------------------

    def _step_crowd(
        self, kind: AlarmKind, holding: dict[str, Finding], now_s: float
    ) -> list[AlarmChange]:
        crowd = self._standing.get((kind, CROWD))
        named_max, count = self._settings.named_max, len(holding)
        if crowd is None:
            has_lasted = any(
                (kind, subject) not in self._standing and self._has_lasted(kind, subject, now_s)
                for subject in holding
            )
            if count <= named_max or not has_lasted or not self._may_raise(kind, now_s):
                return []
            self._kinds[kind].said_count = count
            alarm = Alarm(kind=kind, subject=CROWD, raised_s=now_s, updated_s=now_s)
            return [self._raise(msgspec.structs.replace(alarm, **_crowd_words(kind, holding)))]
        if count <= named_max // 2:
            is_over = self._is_over(kind, CROWD, now_s)
            return [self._clear(kind, CROWD, now_s)] if is_over else []
        self._kinds[kind].over_s.pop(CROWD, None)
        return self._grown(crowd, holding, now_s)

    def _grown(self, crowd: Alarm, holding: dict[str, Finding], now_s: float) -> list[AlarmChange]:
        state, count = self._kinds[crowd.kind], len(holding)
        has_grown = count >= state.said_count * _GROWN
        if not has_grown and (count == crowd.count or not self._may_update(crowd, now_s)):
            return []
        change = self._change(crowd, now_s, **_crowd_words(crowd.kind, holding))
        if not has_grown:
            return [change]
        state.said_count = count
        return [AlarmChange("grew", change.alarm)]

    # --- steps of one alarm -----------------------------------------------------------------------

    def _raise(self, alarm: Alarm) -> AlarmChange:
        self._standing[alarm.key] = alarm
        self._kinds[alarm.kind].raised_s.append(alarm.raised_s)
        return AlarmChange("raised", alarm)

    def _change(self, alarm: Alarm, now_s: float, **words: object) -> AlarmChange:
        changed = msgspec.structs.replace(alarm, updated_s=now_s, **words)
        self._standing[alarm.key] = changed
        return AlarmChange(None, changed)

    def _clear(self, kind: AlarmKind, subject: str, now_s: float) -> AlarmChange:
        alarm = self._standing.pop((kind, subject))
        self._kinds[kind].over_s.pop(subject, None)
        cleared_s = max(now_s, alarm.raised_s)  # the clock may have been set back
        return AlarmChange("cleared", msgspec.structs.replace(alarm, cleared_s=cleared_s))

    # --- questions --------------------------------------------------------------------------------

    def _subjects(self, kind: AlarmKind) -> list[str]:
        """The subjects of the single alarms of a kind that stand."""
        return [s for k, s in self._standing if k is kind and s != CROWD]

    def _has_lasted(self, kind: AlarmKind, subject: str, now_s: float) -> bool:
        return now_s - self._kinds[kind].since_s[subject] >= FACTS[kind].raise_after_s

    def _is_over(self, kind: AlarmKind, subject: str, now_s: float) -> bool:
        over_s = self._kinds[kind].over_s
        over_s[subject] = min(now_s, over_s.get(subject, now_s))
        return now_s - over_s[subject] >= FACTS[kind].clear_after_s

    def _may_raise(self, kind: AlarmKind, now_s: float) -> bool:
        raised_s = self._kinds[kind].raised_s
        while raised_s and not 0 <= now_s - raised_s[0] < _HOUR_S:
            raised_s.popleft()
        return len(raised_s) < self._settings.raised_per_hour_max

    @staticmethod
    def _may_update(alarm: Alarm, now_s: float) -> bool:
        return not 0 <= now_s - alarm.updated_s < _UPDATED_EVERY_S


def _crowd_words(kind: AlarmKind, holding: dict[str, Finding]) -> dict[str, object]:
    subjects = tuple(holding)[:SUBJECTS_MAX]
    more = ", ..." if len(holding) > len(subjects) else ""
    return {
        "text": f"{kind}: {len(holding)} at once ({', '.join(subjects)}{more})",
        "count": len(holding),
        "subjects": subjects,
        "names": _common(holding.values()),
    }


def _common(findings: Iterable[Finding]) -> dict[str, str]:
    """What all of them are about, such as one model."""
    found: dict[str, str] | None = None
    for finding in findings:
        names = finding.names
        if found is None:
            found = dict(names)
        found = {name: value for name, value in found.items() if names.get(name) == value}
    return found or {}
