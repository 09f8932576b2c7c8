"""Checks that stop attacks, each taken out to be noticed by the test that plays the attack.

Attacks are named, and their tests chosen, as in the tables of docs/security.md; a unit test holds
both together.
"""

from __future__ import annotations

from typing import Final

from tests.soak.breaks.one_break import DEVICE, Break

SCHEMAS: Final = "schemas/src/slotcast_schemas"
PUBLISHER: Final = "publisher/src/slotcast_publisher"
MOSQUITTO: Final = "mosquitto"
GROUP: Final = "attacks: "
"""What the name of each of these begins with, for `--only`."""


def _attack(attack: str, check: str, test: str, path: str, old: str, new: str) -> Break:
    """A check taken out.

    Args:
        attack: that it stops, as docs/security.md names it.
        check: what is taken out.
        test: that plays the attack, below `tests`.
        path: the file with the check.
        old: the check.
        new: what is left of it.
    """
    package = next(p for p in (DEVICE, SCHEMAS, PUBLISHER, MOSQUITTO) if path.startswith(f"{p}/"))
    arguments = ("-m", "pytest", "-q", "-x", f"tests/{test}")
    file = path.removeprefix(f"{package}/")
    return Break(f"{GROUP}{attack}", file, old, new, arguments, package, check)


_TRUST: Final = (
    _attack(
        "another publisher's notice, with keys of its own",
        "as many keys sign each role as must, of those that the pinned root trusts",
        "security/test_publisher_trust.py::test_another_publishers_notice_is_not_believed",
        f"{SCHEMAS}/verify.py",
        "    updater.refresh()\n",
        "    Root.verify_delegate = Targets.verify_delegate = lambda *_: None\n"
        "    updater.refresh()\n",
    ),
    _attack(
        "one byte of the release changed",
        "a target has the signed length and digests",
        "security/test_publisher_trust.py::test_one_changed_byte_in_a_target_is_noticed[.release]",
        f"{SCHEMAS}/verify.py",
        "    info.verify_length_and_hashes(data)\n",
        "",
    ),
    _attack(
        "a file that nobody signed rides along",
        "a signed role vouches for each target",
        "security/test_publisher_trust.py::test_a_target_that_nobody_signed_is_not_believed",
        f"{SCHEMAS}/verify.py",
        '    if info is None:\n        raise BadSignature(f"no trusted role vouches for {path!r},'
        ' which the notice carries")\n',
        "    if info is None:\n        return\n",
    ),
    _attack(
        "the clock set back, and an expired notice shown",
        "time is not before what was seen signed",
        "unit/device/core/test_signed_time.py::"
        "test_what_has_expired_by_a_time_seen_signed_is_refused_whatever_the_clock_says",
        f"{DEVICE}/core/signed_time.py",
        "        return max(now.wall_s, running_s)\n",
        "        return now.wall_s\n",
    ),
    _attack(
        "a packed image larger than one of its image can be",
        "a payload's size is bounded by its image's",
        "security/test_stolen_online_key.py::"
        "test_no_chunk_is_asked_for_of_a_payload_larger_than_one_of_its_image_can_be[full+zstd]",
        f"{DEVICE}/core/payload_choice.py",
        "for payload in offered if payload.size_bytes <= most_bytes(payload, release)]",
        "for payload in offered]",
    ),
    _attack(
        "payloads that give something else, again and again",
        "so many broken payloads a day and no more",
        "security/test_stolen_online_key.py::"
        "test_payloads_that_give_another_image_are_fetched_a_few_times_a_day_over_restarts_too",
        f"{DEVICE}/core/payload_choice.py",
        "    if is_worn_out(state, facts.day, is_metered=facts.is_metered):\n",
        "    if False:\n",
    ),
    _attack(
        "a sequence far above the last",
        "a sequence is at most so far above the floor",
        "security/test_sequence.py::"
        "test_a_sequence_far_above_the_last_is_refused_and_the_next_release_is_taken",
        f"{DEVICE}/core/plan.py",
        "    if release.sequence > most:\n",
        "    if False:\n",
    ),
    _attack(
        "a sequence that counts no more",
        "a sequence is within what the targets key has signed",
        "security/test_sequence_floor.py::test_what_counts_no_more_is_refused_and_raises_no_floor",
        f"{DEVICE}/core/plan.py",
        "    if word is not None and not word.counts(release.sequence):\n",
        "    if False:\n",
    ),
)

_MESSAGES: Final = (
    _attack(
        "a key that is there twice",
        "a map has each key once",
        "unit/schemas/test_wire.py::test_a_key_that_is_there_twice_is_refused_at_any_depth",
        f"{SCHEMAS}/wire.py",
        "    if len(fields) != len(pairs):\n",
        "    if False:\n",
    ),
    _attack(
        "the same, signed by another publisher",
        "names of files are the same on every system",
        "security/test_file_names.py::test_a_device_refuses_what_another_publisher_signed",
        f"{SCHEMAS}/verify.py",
        "    if unportable:\n",
        "    if False:\n",
    ),
    _attack(
        "a delta for another base",
        "a delta's base is the image that is here",
        "security/test_delta_hostile.py::test_a_wrong_base_is_refused_before_the_first_byte",
        f"{SCHEMAS}/codecs/delta/headers.py",
        "        if base_size != base_size_bytes or sha256 != base_sha256:\n",
        "        if False:\n",
    ),
    _attack(
        "a zstd frame with a huge window",
        "a frame's window is bounded",
        "unit/codecs/test_full.py::test_a_frame_that_asks_for_a_huge_window_is_refused",
        f"{SCHEMAS}/codecs/full.py",
        "max_window_size=WINDOW_MAX_BYTES",
        "max_window_size=1 << 31",
    ),
    _attack(
        "weights that lie outside the release",
        "external weights are files of the release",
        "security/test_onnx_scan.py::test_what_readers_do_not_read_alike_is_refused[plain]",
        f"{SCHEMAS}/probe/scan.py",
        "        if not location or not self._holds(location):\n",
        "        if not location:\n",
    ),
    _attack(
        "that, behind a tag of more than 32 bits",
        "a field's tag has at most 32 bits",
        "security/test_onnx_scan.py::"
        "test_what_readers_do_not_read_alike_is_refused[a tag above 32 bits]",
        f"{SCHEMAS}/probe/strict_protobuf.py",
        "_TAG_MAX: Final = 2**32 - 1\n",
        "_TAG_MAX: Final = 2**64 - 1\n",
    ),
)

_DEVICE: Final = (
    _attack(
        "slot and release changed together",
        "at a start, the pinned root vouches for a slot's release",
        "security/test_powered_off_device.py::"
        "test_a_changed_slot_gives_way_to_the_other_one_is_named_and_is_mended",
        f"{DEVICE}/jobs.py",
        "            prove_release(release_bytes, proof, self._model, self._config.pinned_root)\n",
        "            pass\n",
    ),
    _attack(
        "a link or pipe where the agent reads",
        "no link is followed",
        "security/test_powered_off_device.py::"
        "test_a_link_or_pipe_where_the_agent_reads_is_named_at_once",
        f"{SCHEMAS}/plain_files.py",
        "os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK",
        "os.O_CLOEXEC | os.O_NONBLOCK",
    ),
    _attack(
        "messages of QoS 2 that are never released",
        "a packet of QoS 2 ends the connection",
        "security/test_hostile_broker.py::test_a_broker_is_left_for_what_it_does[QoS 2]",
        f"{SCHEMAS}/packet_socket.py",
        "        if head in _ANSWERS or self._is_publish():\n",
        "        if head in _ANSWERS or head & 0xF0 == _PUBLISH:\n",
    ),
    _attack(
        "messages on topics that nobody asked for",
        "a broker's useless bytes are bounded",
        "security/test_hostile_broker.py::test_a_broker_is_left_for_what_it_does[unsolicited]",
        f"{DEVICE}/core/broker_budget.py",
        "        return self._bucket.left(now_s) < 0\n",
        "        return False\n",
    ),
    _attack(
        "4,000 notices that are refused, each in other words",
        "refused notices are written and said so often and no more",
        "security/test_refused_notices.py::"
        "test_thousands_of_refused_notices_are_written_and_said_a_few_times",
        f"{DEVICE}/core/notice_writes.py",
        "        if not self._held and self._bucket.take(1, now.mono_s):\n",
        "        if True:\n",
    ),
)

_PUBLISHER: Final = (
    _attack(
        "a link in a folder that is released",
        "links are not followed",
        "security/test_planted_links.py::test_a_link_in_a_folder_is_not_shipped",
        f"{PUBLISHER}/release/given_files.py",
        "for path in paths if path.is_symlink()]",
        "for path in paths if False]",
    ),
    _attack(
        "a folder that is a link, for a device's key",
        "`provision` writes into no folder that is a link",
        "security/test_planted_links.py::test_provision_writes_no_key_into_a_folder_that_is_a_link",
        f"{PUBLISHER}/provision.py",
        "    if out.is_symlink():\n",
        "    if False:\n",
    ),
    _attack(
        "a device that asks for all of a payload again and again",
        "a device has a day's budget of bytes",
        "unit/publisher/test_serve_wants.py::"
        "test_a_device_is_sent_a_payload_a_few_times_a_day_and_no_more",
        f"{PUBLISHER}/serve/budgets.py",
        "        if budget is not None and budget.bytes.take(size_bytes, now_s):\n",
        "        if budget is not None:\n",
    ),
    _attack(
        "a device that says another's name below its own",
        "a want names the device of its topic",
        "unit/publisher/test_heard_wants.py::"
        "test_a_want_that_does_not_say_what_its_topic_says_is_refused",
        f"{PUBLISHER}/serve/heard_wants.py",
        'DeviceTopic(device, "want") if want.device == device and self.hears_devices',
        'DeviceTopic(device, "want") if self.hears_devices',
    ),
    _attack(
        "an unsigned report of a device that is enrolled",
        "an enrolled device's reports are signed",
        "security/test_false_reports.py::"
        "test_an_unsigned_report_of_an_enrolled_device_is_not_believed",
        f"{PUBLISHER}/fleet/intake/report_proof.py",
        "    if proof.is_enrolled:\n",
        "    if False:\n",
    ),
    _attack(
        "an old report shown again",
        "what its key signed before is told from what it signs now",
        "security/test_false_reports.py::test_an_old_report_that_is_shown_again_changes_nothing",
        f"{PUBLISHER}/fleet/intake/taking.py",
        "        record.note_refused(heard.at_s, Drop.REPLAYED)\n"
        "        return Drop.REPLAYED\n    if is_counted",
        "        return None\n    if is_counted",
    ),
    _attack(
        "a revoked device asks for the next one",
        "a revoked certificate renews nothing",
        "unit/publisher/certificates/test_renewals.py::"
        "test_a_revoked_device_gets_none_even_if_it_asked_before",
        f"{PUBLISHER}/certificates/renewals.py",
        "        if serial_of(held) in self._desk.record.revoked():\n",
        "        if False:\n",
    ),
    _attack(
        "a certificate request with a key of another's, whom it did not ask",
        "a request is signed by the key that it names",
        "unit/publisher/certificates/test_desk.py::"
        "test_a_request_that_its_key_did_not_sign_is_refused",
        f"{PUBLISHER}/certificates/certificate_request.py",
        "    if not is_proven:\n",
        "    if False:\n",
    ),
    _attack(
        "a device on another device's topics",
        "the broker's access rules name the device in its topics",
        "integration/test_mosquitto_acl.py::test_a_device_cannot_write_on_the_topics_of_another",
        f"{MOSQUITTO}/acl",
        "pattern write slotcast/v1/devices/%u/status\n",
        "pattern write slotcast/v1/devices/+/status\n",
    ),
    _attack(
        "a change without this session's token",
        "a form has the token of its session",
        "security/test_page_requests.py::test_a_change_needs_the_token_of_this_session",
        f"{PUBLISHER}/fleet/web/csrf.py",
        "            await self._check(request, secret)\n",
        "            pass\n",
    ),
    _attack(
        "any route without the right for it",
        "a route asks whether one may",
        "security/test_page_access.py::test_no_route_does_anything_for_who_may_not",
        f"{PUBLISHER}/fleet/web/guards.py",
        "    if not isinstance(needed, Permission) or not who.may(needed):\n",
        "    if not isinstance(needed, Permission):\n",
    ),
)

_ENCRYPTION: Final = (
    _attack(
        "a stolen online key offers a content key of the thief's",
        "a content key is the one that the release commits to",
        "security/test_content_keys.py::"
        "test_a_key_that_an_online_thief_wrapped_is_not_the_committed_one",
        f"{SCHEMAS}/content_key.py",
        "    if commitment_to(content_key) != committed:",
        "    if not content_key:",
    ),
    _attack(
        "chunks of an encrypted payload left off at its end",
        "each block is sealed with how many there are",
        "unit/codecs/test_encrypted.py::test_chunks_that_were_left_off_are_noticed",
        f"{SCHEMAS}/codecs/sealed_blocks.py",
        'return struct.pack(">QQ", index, self.count)',
        'return struct.pack(">Q", index)',
    ),
    _attack(
        "an encrypted payload shown under another codec, base, size or digest",
        "blocks are sealed for one base",
        "security/test_encrypted_payloads.py::test_a_payload_does_not_open_as_another[other base]",
        f"{SCHEMAS}/codecs/encrypted.py",
        "        base_sha256,\n        plain_sha256,\n        struct",
        "        plain_sha256,\n        struct",
    ),
    _attack(
        "a list of recipients named in metadata that the release key did not sign",
        "the release key signed which list it is",
        "security/test_encrypted_recipients.py::"
        "test_a_list_that_somebody_named_in_the_metadata_without_the_key_is_not_believed",
        f"{PUBLISHER}/trust/role_reading.py",
        "if not self._is_vouched(name, role) or not isinstance(said, str):",
        "if not isinstance(said, str):",
    ),
    _attack(
        "a recipient written into the list without the release key",
        "a list of recipients has the signed digest",
        "security/test_encrypted_recipients.py::"
        "test_a_recipient_that_was_written_into_the_file_is_not_believed",
        f"{PUBLISHER}/trust/recipients.py",
        "        if hashlib.sha256(data).digest() != digest:",
        "        if not data:",
    ),
    _attack(
        "a thief's encryption key in a device's enrolment request",
        "the device signed its encryption key",
        "security/test_content_keys.py::"
        "test_an_encryption_key_that_the_device_did_not_sign_is_not_enrolled",
        f"{PUBLISHER}/enrolment/request.py",
        "    if key is None:\n        return\n",
        "    if key is None or signature:\n        return\n",
    ),
    _attack(
        "a delta in the clear that a rollout makes for an encrypted release",
        "a later delta is encrypted, too",
        "security/test_encrypted_recipients.py::test_a_delta_that_is_made_later_is_encrypted_too",
        f"{PUBLISHER}/fleet/steering/delta_child.py",
        "        candidate = encrypt(built)\n",
        "        candidate = built\n",
    ),
    _attack(
        "any payload in the clear in an encrypted release",
        "the store keeps no payload in the clear for one",
        "security/test_encrypted_recipients.py::"
        "test_no_payload_in_the_clear_gets_into_an_encrypted_release",
        f"{PUBLISHER}/store.py",
        "        if is_encrypted(record.payload) != is_sealed:",
        "        if is_encrypted(record.payload) and not is_sealed:",
    ),
)

ATTACK_BREAKS: Final = (*_TRUST, *_MESSAGES, *_DEVICE, *_PUBLISHER, *_ENCRYPTION)
