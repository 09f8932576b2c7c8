"""Checks of devices, and of what both sides read, each taken out."""

from __future__ import annotations

from typing import Final

from tests.soak.breaks.attacks import SCHEMAS, attack_break
from tests.soak.breaks.one_break import DEVICE

_TRUST: Final = (
    attack_break(
        "another publisher's notice, with keys of its own",
        "as many keys sign each role as must, of those that the pinned root trusts",
        "security/test_publisher_trust.py::test_another_publishers_notice_is_not_believed",
        f"{SCHEMAS}/verify.py",
        "    updater.refresh()\n",
        "    Root.verify_delegate = Targets.verify_delegate = lambda *_: None\n"
        "    updater.refresh()\n",
    ),
    attack_break(
        "one byte of the release changed",
        "a target has the signed length and digests",
        "security/test_publisher_trust.py::test_one_changed_byte_in_a_target_is_noticed[.release]",
        f"{SCHEMAS}/verify.py",
        "    info.verify_length_and_hashes(data)\n",
        "",
    ),
    attack_break(
        "a file that nobody signed rides along",
        "a signed role vouches for each target",
        "security/test_publisher_trust.py::test_a_target_that_nobody_signed_is_not_believed",
        f"{SCHEMAS}/verify.py",
        '    if info is None:\n        raise BadSignature(f"no trusted role vouches for {path!r},'
        ' which the notice carries")\n',
        "    if info is None:\n        return\n",
    ),
    attack_break(
        "the clock set back, and an expired notice shown",
        "time is not before what was seen signed",
        "unit/device/core/test_signed_time.py::"
        "test_what_has_expired_by_a_time_seen_signed_is_refused_whatever_the_clock_says",
        f"{DEVICE}/core/signed_time.py",
        "        return max(now.wall_s, self._run_on(signed_s, now), self._elsewhere_s(now))\n",
        "        return now.wall_s\n",
    ),
    attack_break(
        "a packed image larger than one of its image can be",
        "a payload's size is bounded by its image's",
        "security/test_stolen_online_key.py::"
        "test_no_chunk_is_asked_for_of_a_payload_larger_than_one_of_its_image_can_be[full+zstd]",
        f"{DEVICE}/core/payload_choice.py",
        "for payload in offered if payload.size_bytes <= most_bytes(payload, release)]",
        "for payload in offered]",
    ),
    attack_break(
        "payloads that give something else, again and again",
        "so many broken payloads a day and no more",
        "security/test_stolen_online_key.py::"
        "test_payloads_that_give_another_image_are_fetched_a_few_times_a_day_over_restarts_too",
        f"{DEVICE}/core/payload_choice.py",
        "    if is_worn_out(state, facts, trusted.release.image_size_bytes):\n",
        "    if False:\n",
    ),
    attack_break(
        "payloads that give way to others, or are canceled, before they are whole, again and again",
        "what was fetched for nothing is bounded by day",
        "security/test_stolen_online_key.py::"
        "test_payloads_whose_place_others_take_before_they_are_whole_come_to_a_few_images_a_day"
        "[another]",
        f"{DEVICE}/core/payload_bounds.py",
        " or state.dropped.on(facts.day) >= most * image_size_bytes",
        "",
    ),
    attack_break(
        "a sequence far above the last",
        "a sequence is at most so far above the floor",
        "security/test_sequence.py::"
        "test_a_sequence_far_above_the_last_is_refused_and_the_next_release_is_taken",
        f"{DEVICE}/core/sequence_floor.py",
        "    if release.sequence > most:\n",
        "    if False:\n",
    ),
    attack_break(
        "a sequence that counts no more",
        "a sequence is within what the targets key has signed",
        "security/test_sequence_floor.py::test_what_counts_no_more_is_refused_and_raises_no_floor",
        f"{DEVICE}/core/sequence_floor.py",
        "    if word is not None and not word.counts(release.sequence):\n",
        "    if False:\n",
    ),
    attack_break(
        "a trial of months, so that nothing takes its release's place",
        "a long trial gives way to another release",
        "unit/device/core/test_offer_states.py::"
        "test_a_long_trial_ends_at_once_where_another_release_is_to_be_installed",
        f"{DEVICE}/core/notice_review.py",
        "self.has_waited_long(now) or self._switching.trial_left_s(now) > LONG_TRIAL_S",
        "self.has_waited_long(now)",
    ),
    attack_break(
        "a trial that waits for requests without end",
        "another release waits for a trial for an hour at most",
        "unit/device/core/test_offer_states.py::"
        "test_a_trial_that_waits_for_requests_keeps_another_release_for_an_hour_at_most",
        f"{DEVICE}/core/notice_review.py",
        "since_s is not None and now.mono_s - since_s >= LONG_TRIAL_S",
        "False",
    ),
)

_MESSAGES: Final = (
    attack_break(
        "a key that is there twice",
        "a map has each key once",
        "unit/schemas/test_wire.py::test_a_key_that_is_there_twice_is_refused_at_any_depth",
        f"{SCHEMAS}/wire.py",
        "    if len(fields) != len(pairs):\n",
        "    if False:\n",
    ),
    attack_break(
        "the same, signed by another publisher",
        "names of files are the same on every system",
        "security/test_file_names.py::test_a_device_refuses_what_another_publisher_signed",
        f"{SCHEMAS}/verify.py",
        "    if unportable:\n",
        "    if False:\n",
    ),
    attack_break(
        "a delta for another base",
        "a delta's base is the image that is here",
        "security/test_delta_hostile.py::test_a_wrong_base_is_refused_before_the_first_byte",
        f"{SCHEMAS}/codecs/delta/headers.py",
        "        if base_size != base_size_bytes or sha256 != base_sha256:\n",
        "        if False:\n",
    ),
    attack_break(
        "a zstd frame with a huge window",
        "a frame's window is bounded",
        "unit/codecs/test_full.py::test_a_frame_that_asks_for_a_huge_window_is_refused",
        f"{SCHEMAS}/codecs/full.py",
        "max_window_size=WINDOW_MAX_BYTES",
        "max_window_size=1 << 31",
    ),
    attack_break(
        "weights that lie outside the release",
        "external weights are files of the release",
        "security/test_onnx_scan.py::test_what_readers_do_not_read_alike_is_refused[plain]",
        f"{SCHEMAS}/probe/scan.py",
        "        if not location or not self._holds(location):\n",
        "        if not location:\n",
    ),
    attack_break(
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
    attack_break(
        "slot and release changed together",
        "at a start, the pinned root vouches for a slot's release",
        "security/test_powered_off_device.py::"
        "test_a_changed_slot_gives_way_to_the_other_one_is_named_and_is_mended",
        f"{DEVICE}/storage/inspection.py",
        "            prove_release(release_bytes, proof, self._model, self._config.pinned_root)\n",
        "            pass\n",
    ),
    attack_break(
        "a link or pipe where the agent reads",
        "no link is followed",
        "security/test_planted_on_devices.py::"
        "test_a_link_or_pipe_where_the_agent_reads_is_named_at_once",
        f"{SCHEMAS}/plain_files.py",
        "os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK",
        "os.O_CLOEXEC | os.O_NONBLOCK",
    ),
    attack_break(
        "a changed slot whose release or record is a link, a pipe, a folder or large, so that all"
        " stays as it is",
        "what is no file beside a slot proves nothing",
        "security/test_powered_off_device.py::"
        "test_a_slot_with_something_else_in_a_files_place_gives_way_or_is_mended",
        f"{DEVICE}/storage/disk.py",
        "            if self.holds_no_file(path, limit_bytes):\n",
        "            if False:\n",
    ),
    attack_break(
        "a link or pipe where the agent keeps replacing its view, to write elsewhere or to stop it",
        "what is replaced is made anew, and not opened as it lies there",
        "security/test_planted_on_devices.py::"
        "test_what_is_replaced_now_and_then_goes_through_no_planted_name_and_waits_at_no_pipe[view]",
        f"{SCHEMAS}/plain_files.py",
        '    with os.fdopen(create_anew(temporary), "wb") as file:\n',
        '    with temporary.open("wb") as file:\n',
    ),
    attack_break(
        "pipes among what is known of signatures, so that no notice is ever looked through",
        "of what is known of signatures, plain files are read",
        "unit/device/test_trust.py::test_pipes_among_what_was_seen_are_not_waited_at",
        f"{DEVICE}/storage/trust_store.py",
        "        if stat.S_ISREG(about.st_mode) and about",
        "        if about",
    ),
    attack_break(
        "the changed slot made unreadable to the agent, so that it tells nothing of it",
        "what the agent may not read is no slot of its",
        "security/test_slots_that_lead_nowhere.py::"
        "test_a_slot_that_another_user_keeps_from_the_agent_does_not_serve_either",
        f"{DEVICE}/storage/inspection.py",
        "            except StateUnwritable as exc:  # all",
        "            except StateUnreadable as exc:  # all",
    ),
    attack_break(
        "a folder where the next `current` is made, so that no slot is served",
        "what is in a new link's way goes, even a folder",
        "unit/device/test_slots.py::"
        "test_what_lies_where_the_new_link_is_made_is_not_in_its_way[folder]",
        f"{DEVICE}/storage/disk.py",
        "        self.remove_tree(temporary)\n        self.make_link",
        "        self.unlink(temporary)\n        self.make_link",
    ),
    attack_break(
        "one bit of that key turned, so that the agent ends at each start",
        "all that a damaged key raises is a refusal",
        "security/test_damaged_keys.py::"
        "test_a_devices_own_key_with_a_bit_turned_is_one_or_is_refused[Ed25519]",
        f"{SCHEMAS}/key_errors.py",
        "UnsupportedAlgorithm, InternalError)",
        "UnsupportedAlgorithm)",
    ),
    attack_break(
        "an answer to a renewal that is no certificate, to end the agent",
        "all that a damaged certificate raises is a refusal",
        "security/test_hostile_certificates.py::"
        "test_a_device_keeps_or_refuses_whatever_comes_as_its_next_certificate",
        f"{SCHEMAS}/x509_errors.py",
        "    x509.InvalidVersion,\n",
        "",
    ),
    attack_break(
        "messages of QoS 2 that are never released",
        "a packet of QoS 2 ends the connection",
        "security/test_hostile_broker.py::test_a_broker_is_left_for_what_it_does[QoS 2]",
        f"{SCHEMAS}/packet_socket.py",
        "    return _ANSWER if head in _ANSWERS else _FORBIDDEN\n",
        "    return _ANSWER if head in _ANSWERS or head & 0xF0 == _PUBLISH else _FORBIDDEN\n",
    ),
    attack_break(
        "messages on topics that nobody asked for",
        "a broker's useless bytes are bounded",
        "security/test_hostile_broker.py::test_a_broker_is_left_for_what_it_does[unsolicited]",
        f"{DEVICE}/core/broker_budget.py",
        "        return self._bucket.left(now_s) < 0\n",
        "        return False\n",
    ),
    attack_break(
        "4,000 notices that are refused, each in other words",
        "refused notices are written and said so often and no more",
        "security/test_refused_notices.py::"
        "test_thousands_of_refused_notices_are_written_and_said_a_few_times",
        f"{DEVICE}/core/notice_writes.py",
        "        if not self._held and self._bucket.take(1, now.mono_s):\n",
        "        if True:\n",
    ),
    attack_break(
        "a container's base exchanged under its tag",
        "a recipe's first step refuses a base without a digest",
        "security/test_base_images.py::"
        "test_a_base_that_is_named_by_a_tag_alone_is_refused_with_what_to_do",
        f"{DEVICE}/share/Containerfile",
        'case "$BASE" in *@sha256:*)',
        'case "$BASE" in *)',
    ),
)

DEVICE_ATTACKS: Final = (*_TRUST, *_MESSAGES, *_DEVICE)
