"""Checks of who reads encrypted releases, each taken out."""

from __future__ import annotations

from typing import Final

from tests.soak.breaks.attacks import PUBLISHER, SCHEMAS, attack_break

_TESTS: Final = "security/test_recipient_lists.py::"

RECIPIENT_ATTACKS: Final = (
    attack_break(
        "two devices with one encryption key: one is taken out, and reads on",
        "recipients have a key each",
        f"{_TESTS}test_two_devices_with_one_encryption_key_are_not_two_recipients",
        f"{PUBLISHER}/trust/recipients.py",
        "        _check_keys_differ(ordered)\n",
        "",
    ),
    attack_break(
        "the same by another way to write the key",
        "a key is written in one way",
        f"{_TESTS}test_one_key_is_written_in_one_way",
        f"{SCHEMAS}/content_key.py",
        'if int.from_bytes(raw, "little") >= _FIELD_PRIME:',
        "if False:",
    ),
    attack_break(
        "an encryption key with which everybody agrees on the same",
        "a key agrees on something",
        f"{_TESTS}test_no_point_of_small_order_is_a_recipients_key",
        f"{SCHEMAS}/content_key.py",
        "if len(raw) != 32 or not _is_usable(raw):",
        "if len(raw) != 32:",
    ),
    attack_break(
        "a stolen encryption key that was replaced, and that is a recipient still",
        "the key of a recipient is the one with which it is enrolled",
        f"{_TESTS}test_nothing_more_is_wrapped_for_a_key_that_was_replaced",
        f"{PUBLISHER}/release/for_recipients.py",
        "if said[one.device] not in {None, one.key}",
        "if False",
    ),
    attack_break(
        "a list of recipients of before, with its true signature, put back where it was published"
        " over",
        "what is signed of recipients is what was published last, or newer",
        f"{_TESTS}test_a_list_of_before_is_not_believed_once_a_newer_one_was_published",
        f"{PUBLISHER}/trust/role_reading.py",
        "        if role.signed.version < self.floor(name):\n",
        "        if False:\n",
    ),
    attack_break(
        "a list of recipients deleted, to have the next release in the clear",
        "where the list is lost, releases are encrypted",
        f"{_TESTS}test_a_model_whose_list_is_lost_is_not_released_in_the_clear_by_the_next_one",
        f"{PUBLISHER}/release/for_recipients.py",
        "        return Recipients(model=model, always=True)\n",
        "        return Recipients(model=model)\n",
    ),
)
