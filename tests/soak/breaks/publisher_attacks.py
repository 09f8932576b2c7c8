"""Checks of publishers, of the broker's access rules, and of encrypted releases, each taken out."""

from __future__ import annotations

from typing import Final

from tests.soak.breaks.attacks import MOSQUITTO, PUBLISHER, SCHEMAS, attack_break

_PUBLISHER: Final = (
    attack_break(
        "a link in a folder that is released",
        "links are not followed",
        "security/test_planted_links.py::test_a_link_in_a_folder_is_not_shipped",
        f"{PUBLISHER}/release/given_files.py",
        "for path in paths if path.is_symlink()]",
        "for path in paths if False]",
    ),
    attack_break(
        "a file planted where the signer left files out",
        "each file of a release is one that was signed",
        "unit/publisher/supply/test_model_signatures.py::"
        "test_a_file_that_its_signer_left_out_is_not_taken_with_the_others",
        f"{PUBLISHER}/supply/check.py",
        "for name in files if name not in signed]",
        "for name in files if name not in signed and not _left_out([name], manifest)]",
    ),
    attack_break(
        "a folder that is a link, for a device's key",
        "`provision` writes into no folder that is a link",
        "security/test_planted_links.py::test_provision_writes_no_key_into_a_folder_that_is_a_link",
        f"{PUBLISHER}/provision.py",
        "    if out.is_symlink():\n",
        "    if False:\n",
    ),
    attack_break(
        "in the environment of what any command starts: workers that make deltas for a release, and"
        " what watches over them",
        "a command takes its secrets out of its environment before it starts anything",
        "security/test_child_environments.py::test_no_child_of_a_release_finds_one",
        f"{PUBLISHER}/cli/__init__.py",
        "    take_secrets()\n",
        "",
    ),
    attack_break(
        "in the environment of what `serve` starts: the page, gates' commands, what reads models"
        " for deltas",
        "children that need no secrets are given none",
        "security/test_planted_secrets.py::"
        "test_no_child_of_serve_finds_a_secret_in_its_environment",
        f"{SCHEMAS}/environment.py",
        "for name, value in os.environ.items() if name not in _NOT_FOR_CHILDREN",
        "for name, value in os.environ.items()",
    ),
    attack_break(
        "one RSA key that signs in two ways, counted as two of the two that must sign",
        "keys of a role are as many as they are counted",
        "security/test_publisher_trust.py::test_one_key_that_signs_in_two_ways_is_not_two_of_two",
        f"{PUBLISHER}/trust/ceremonies.py",
        "    if len(set(publics.values())) < len(publics):\n",
        "    if False:\n",
    ),
    attack_break(
        "a key of a thief's that the key ring calls one of the root's",
        "signatures are verified before they are counted",
        "security/test_counted_signatures.py::"
        "test_a_key_that_the_key_ring_calls_another_is_not_counted_as_that",
        f"{PUBLISHER}/trust/signing_means.py",
        "                missing += self._drop_if_false(keyid, metadata, publics)\n",
        "                pass\n",
    ),
    attack_break(
        "a threshold of none",
        "at least one key must sign",
        "security/test_counted_signatures.py::test_a_threshold_that_none_or_fewer_reach_is_refused",
        f"{PUBLISHER}/trust/ceremonies.py",
        "        if threshold < 1:\n",
        "        if False:\n",
    ),
    attack_break(
        "a device that asks for all of a payload again and again",
        "a device has a day's budget of bytes",
        "unit/publisher/test_serve_wants.py::"
        "test_a_device_is_sent_a_payload_a_few_times_a_day_and_no_more",
        f"{PUBLISHER}/serve/budgets.py",
        "        if budget is not None and budget.tokens.take(size_bytes, now_s):\n",
        "        if budget is not None:\n",
    ),
    attack_break(
        "a device that says another's name below its own",
        "a want names the device of its topic",
        "unit/publisher/test_heard_wants.py::"
        "test_a_want_that_does_not_say_what_its_topic_says_is_refused",
        f"{PUBLISHER}/serve/heard_wants.py",
        'DeviceTopic(device, "want") if want.device == device and self.hears_devices',
        'DeviceTopic(device, "want") if self.hears_devices',
    ),
    attack_break(
        "an unsigned report of a device that is enrolled",
        "an enrolled device's reports are signed",
        "security/test_false_reports.py::"
        "test_an_unsigned_report_of_an_enrolled_device_is_not_believed",
        f"{PUBLISHER}/fleet/intake/report_proof.py",
        "    if proof.is_enrolled:\n",
        "    if False:\n",
    ),
    attack_break(
        "an old report shown again",
        "what its key signed before is told from what it signs now",
        "security/test_false_reports.py::test_an_old_report_that_is_shown_again_changes_nothing",
        f"{PUBLISHER}/fleet/intake/taking.py",
        "        record.note_refused(heard.at_s, Drop.REPLAYED)\n"
        "        return Drop.REPLAYED\n    if is_counted",
        "        return None\n    if is_counted",
    ),
    attack_break(
        "a revoked device asks for the next one",
        "a revoked certificate renews nothing",
        "unit/publisher/certificates/test_renewals.py::"
        "test_a_revoked_device_gets_none_even_if_it_asked_before",
        f"{PUBLISHER}/certificates/renewals.py",
        "        if serial_of(held) in self._desk.record.revoked():\n",
        "        if False:\n",
    ),
    attack_break(
        "a renewal with a certificate or request that is none, to end `serve`",
        "all that a damaged request raises is a refusal",
        "security/test_hostile_certificates.py::"
        "test_serve_answers_or_passes_over_whatever_a_device_asks_to_have_renewed",
        f"{PUBLISHER}/certificates/renewals.py",
        '    except UNREADABLE as exc:\n        raise UsageError(f"expected a PKCS#10',
        '    except ValueError as exc:\n        raise UsageError(f"expected a PKCS#10',
    ),
    attack_break(
        "such renewals at a `serve` that runs, over a real Mosquitto",
        "all that a damaged certificate raises is a refusal",
        "security/test_hostile_serve_peers.py::"
        "test_no_renewal_ends_a_serve_that_runs_and_the_next_good_one_is_answered",
        f"{PUBLISHER}/certificates/renewals.py",
        "        except UNREADABLE as exc:\n            raise Inconsistent(",
        "        except ValueError as exc:\n            raise Inconsistent(",
    ),
    attack_break(
        "a broker that sends `serve` what it never subscribed to, to end it",
        "the intake reads what it has subscribed to",
        "security/test_fuzz_at_serve.py::"
        "test_what_a_broker_sends_on_topics_that_nobody_heard_on_does_not_end_the_intake",
        f"{PUBLISHER}/fleet/intake/messages.py",
        " or topic.what not in _KINDS:",
        ":",
    ),
    attack_break(
        "the same on each connection of a `serve` that runs",
        "the intake reads topics of devices alone",
        "security/test_hostile_serve_peers.py::"
        "test_what_a_broker_sends_on_topics_that_nobody_heard_on_ends_nothing_of_a_serve_that_runs",
        f"{PUBLISHER}/fleet/intake/messages.py",
        "    if not isinstance(topic, DeviceTopic) or topic.what",
        "    if topic.what",
    ),
    attack_break(
        "a certificate request with a key of another's, whom it did not ask",
        "a request is signed by the key that it names",
        "unit/publisher/certificates/test_desk.py::"
        "test_a_request_that_its_key_did_not_sign_is_refused",
        f"{PUBLISHER}/certificates/certificate_request.py",
        "    if not is_proven:\n",
        "    if False:\n",
    ),
    attack_break(
        "a device on another device's topics",
        "the broker's access rules name the device in its topics",
        "integration/test_mosquitto_acl.py::test_a_device_cannot_write_on_the_topics_of_another",
        f"{MOSQUITTO}/acl",
        "pattern write slotcast/v1/devices/%u/status\n",
        "pattern write slotcast/v1/devices/+/status\n",
    ),
    attack_break(
        "a change without this session's token",
        "a form has the token of its session",
        "security/test_page_requests.py::test_a_change_needs_the_token_of_this_session",
        f"{PUBLISHER}/fleet/web/csrf.py",
        "            await self._check(request, secret)\n",
        "            pass\n",
    ),
    attack_break(
        "any route without the right for it",
        "a route asks whether one may",
        "security/test_page_access.py::test_no_route_does_anything_for_who_may_not",
        f"{PUBLISHER}/fleet/web/guards.py",
        "    if not isinstance(needed, Permission) or not who.may(needed):\n",
        "    if not isinstance(needed, Permission):\n",
    ),
)

_ENCRYPTION: Final = (
    attack_break(
        "a stolen online key offers a content key of the thief's",
        "a content key is the one that the release commits to",
        "security/test_content_keys.py::"
        "test_a_key_that_an_online_thief_wrapped_is_not_the_committed_one",
        f"{SCHEMAS}/content_key.py",
        "    if commitment_to(content_key) != committed:",
        "    if not content_key:",
    ),
    attack_break(
        "chunks of an encrypted payload left off at its end",
        "each block is sealed with how many there are",
        "unit/codecs/test_encrypted.py::test_chunks_that_were_left_off_are_noticed",
        f"{SCHEMAS}/codecs/sealed_blocks.py",
        'return struct.pack(">QQ", index, self.count)',
        'return struct.pack(">Q", index)',
    ),
    attack_break(
        "an encrypted payload shown under another codec, base, size or digest",
        "blocks are sealed for one base",
        "security/test_encrypted_payloads.py::test_a_payload_does_not_open_as_another[other base]",
        f"{SCHEMAS}/codecs/encrypted.py",
        "        base_sha256,\n        plain_sha256,\n        struct",
        "        plain_sha256,\n        struct",
    ),
    attack_break(
        "a list of recipients named in metadata that the release key did not sign",
        "the release key signed which list it is",
        "security/test_encrypted_recipients.py::"
        "test_a_list_that_somebody_named_in_the_metadata_without_the_key_is_not_believed",
        f"{PUBLISHER}/trust/role_reading.py",
        "if not self._is_vouched(name, role) or not isinstance(said, str):",
        "if not isinstance(said, str):",
    ),
    attack_break(
        "a recipient written into the list without the release key",
        "a list of recipients has the signed digest",
        "security/test_encrypted_recipients.py::"
        "test_a_recipient_that_was_written_into_the_file_is_not_believed",
        f"{PUBLISHER}/trust/recipients.py",
        "        if hashlib.sha256(data).digest() != digest:",
        "        if not data:",
    ),
    attack_break(
        "a thief's encryption key in a device's enrolment request",
        "the device signed its encryption key",
        "security/test_content_keys.py::"
        "test_an_encryption_key_that_the_device_did_not_sign_is_not_enrolled",
        f"{PUBLISHER}/enrolment/request.py",
        "    if key is None:\n        return\n",
        "    if key is None or signature:\n        return\n",
    ),
    attack_break(
        "a delta in the clear that a rollout makes for an encrypted release",
        "a later delta is encrypted, too",
        "security/test_encrypted_recipients.py::test_a_delta_that_is_made_later_is_encrypted_too",
        f"{PUBLISHER}/fleet/steering/delta_child.py",
        "        candidate = encrypt(built)\n",
        "        candidate = built\n",
    ),
    attack_break(
        "any payload in the clear in an encrypted release",
        "the store keeps no payload in the clear for one",
        "security/test_encrypted_recipients.py::"
        "test_no_payload_in_the_clear_gets_into_an_encrypted_release",
        f"{PUBLISHER}/store.py",
        "        if is_encrypted(record.payload) != is_sealed:",
        "        if is_encrypted(record.payload) and not is_sealed:",
    ),
)

PUBLISHER_ATTACKS: Final = (*_PUBLISHER, *_ENCRYPTION)
