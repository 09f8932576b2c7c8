"""Breaks of the rollout engine, to be seen by simulated rollouts."""

from __future__ import annotations

from typing import Final

from tests.soak.breaks.one_break import Break

FLEET: Final = "publisher/src/slotcast_publisher/fleet"
ROLLOUTS: Final = ("-m", "tests.fleet_simulation", "--count", "600", "--failures", "1")


def _rollout(name: str, file: str, old: str, new: str) -> Break:
    """A change to the rollout engine, to be seen by simulated rollouts."""
    return Break(f"rollout: {name}", file, old, new, ROLLOUTS, FLEET)


ROLLOUT_BREAKS: Final = (
    _rollout(
        "a group opens before the one before it passed",
        "rollout/group_progress.py",
        "                if self._record.groups[index].state is not GroupState.PASSED:\n"
        "                    return\n",
        "                pass\n",
    ),
    _rollout(
        "a group passes with too few devices committed",
        "rollout/group_progress.py",
        "        return tally.succeeded >= least and share >= self._success_share(planned)\n",
        "        return tally.succeeded >= least\n",
    ),
    _rollout(
        "a group without devices passes",
        "rollout/group_progress.py",
        "            return is_last or planned.devices_min == 0\n",
        "            return True\n",
    ),
    _rollout(
        "a clock that jumps passes a soak",
        "rollout/group_progress.py",
        "is_watched = record.looked_s > 0 and 0 <= gap_s <= LOOK_MAX_S",
        "is_watched = record.looked_s > 0 and 0 <= gap_s",
    ),
    _rollout(
        "half a fleet is taken for all of it, after a database was lost",
        "rollout/group_progress.py",
        "left_s = self._plan.listen_s - listened_s\n",
        "left_s = 0.0\n",
    ),
    _rollout(
        "a gate is not asked",
        "rollout/group_progress.py",
        "        missing = [kind for kind in planned.gate.kinds if kind not in group.agreed]\n",
        "        missing: list[str] = []\n",
    ),
    _rollout(
        "a pause that is found in the signed offer is not followed",
        "rollout/reconcile.py",
        '    if offer.state == "paused":\n        record, more',
        '    if offer.state == "nothing":\n        record, more',
    ),
    _rollout(
        "what a person paused goes on, as if no person had to undo it",
        "rollout/offers.py",
        "    if record.state is RolloutState.PAUSED:\n",
        "    if record.pause is not None and record.pause.by != 'person':\n",
    ),
    _rollout(
        "a request of a person that comes twice counts twice",
        "rollout/person.py",
        "    if request.id in record.answered:\n        return record\n",
        "",
    ),
    _rollout(
        "what the signed offer lets in is not followed",
        "rollout/reconcile.py",
        "    record = record.with_groups(groups)\n    if offer",
        "    if offer",
    ),
    _rollout(
        "a resume is lost where the process dies before it signs",
        "rollout/reconcile.py",
        "    if offer is None or mark == record.seen_offer:\n",
        "    if offer is None:\n",
    ),
    _rollout(
        "a verdict on fewer observations than its confidence allows",
        "figures/shares.py",
        "    return chance_of_at_least(share.hits, share.of, limit) <= tail(confidence)\n",
        "    return True\n",
    ),
    _rollout(
        "a failure of an earlier attempt counts",
        "rollout/observations.py",
        "        if target.deployment != deployment:\n",
        "        if not deployment:\n",
    ),
    _rollout(
        "the cap on devices under way is passed",
        "rollout/ramp.py",
        "    free = plan.max_under_way - under_way\n",
        "    free = plan.max_under_way\n",
    ),
    _rollout(
        "devices that vanish hold a group up for ever",
        "rollout/tally.py",
        "            if not is_gone:\n                tally",
        "            if True:\n                tally",
    ),
    _rollout(
        "a rollout does not say what it waits for",
        "rollout/waiting.py",
        '            return [*waits, *(text for text in at_work if text)] or ["the next look"]\n',
        "            return [*waits]\n",
    ),
    _rollout(
        "an offer that is signed is asked for again",
        "rollout/group_progress.py",
        "        if wanted is not None and not self._is_said() and not self._is_superseded():\n",
        "        if wanted is not None and not self._is_superseded():\n",
    ),
    _rollout(
        "the next release begins before the stone has passed all groups",
        "rollout/group_progress.py",
        "        groups = [group.begun_anew() for group in record.groups]\n",
        "        groups = list(record.groups)\n",
    ),
)
