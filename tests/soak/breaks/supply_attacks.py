"""Checks of models that somebody else signed, each taken out."""

from __future__ import annotations

from typing import Final

from tests.soak.breaks.attacks import PUBLISHER, attack_break

_TESTS: Final = "security/test_swapped_signed_models.py::"

SUPPLY_ATTACKS: Final = (
    attack_break(
        "files of an earlier release that nobody signed, released again as signed",
        "`--same-as` goes with no bundle",
        f"{_TESTS}test_files_of_a_release_that_nobody_signed_are_not_released_again_as_signed",
        f"{PUBLISHER}/release/build.py",
        "    if request.signature:\n",
        "    if False:\n",
    ),
    attack_break(
        "a release made without a question, asked for again with one",
        "a release that is there is judged, too",
        f"{_TESTS}test_a_release_that_is_there_is_judged_before_it_is_said_to_be_good",
        f"{PUBLISHER}/release/build.py",
        "        check_given_signature(request, existing.files_dir, now_s)\n",
        "",
    ),
    attack_break(
        "a policy whose issuer is empty, so that any service's word counts",
        "a policy's words say something",
        f"{_TESTS}test_a_policy_with_an_empty_word_is_refused",
        f"{PUBLISHER}/supply/policy.py",
        "_Said = Annotated[str, Meta(min_length=1)]",
        "_Said = Annotated[str, Meta(min_length=0)]",
    ),
    attack_break(
        "an authority that may vouch for other names alone",
        "an authority with name constraints is refused",
        f"{_TESTS}test_an_authority_for_other_names_vouches_for_nobody",
        f"{PUBLISHER}/supply/signer_certificates.py",
        "        is_limit = one.oid == x509.NameConstraints.oid\n",
        "        is_limit = False\n",
    ),
    attack_break(
        "an authority for servers, below the root",
        "authorities below the root are for code signing",
        f"{_TESTS}test_an_authority_for_servers_vouches_for_no_trainer",
        f"{PUBLISHER}/supply/signer_certificates.py",
        "            _check_purpose(at)\n",
        "            pass\n",
    ),
    attack_break(
        "a certificate with a limit that its reader does not understand",
        "what must be understood is",
        f"{_TESTS}test_a_limit_that_must_be_understood_and_is_not_counts",
        f"{PUBLISHER}/supply/signer_certificates.py",
        "        _check_understood(at)\n",
        "",
    ),
)
