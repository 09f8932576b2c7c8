"""The public conformance bundles of OpenSSF's model-signing, each judged as its suite asks.

The names are the suite's. Its fixed bundles are in `tests/assets/oms`, with where they are from;
what the suite makes of them when it runs, or signs with certificates of its own, is made here.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from slotcast_publisher.supply.sign import read_signing_key, sign_model
from slotcast_schemas.errors import (
    BadSignature,
    Inconsistent,
    MalformedMessage,
    RefusedRelease,
    UnsupportedFeature,
)
from tests.support.model_signing import write_certificate, write_key
from tests.support.oms_bundles import SIGNER_RULES, Given

GOOD = [
    ("v0.3.1-certificate", "certificate", 2),
    ("v0.3.1-elliptic-key", "key", 1),
    ("v0.3.1-sigstore", "sigstore", 2),
    ("v1.0.0-certificate", "certificate", 2),
    ("v1.0.0-elliptic-key", "key", 1),
    ("v1.0.0-sigstore", "sigstore", 2),
    ("v1.0.1-certificate", "certificate", 2),
    ("v1.0.1-elliptic-key", "key", 2),
    ("v1.0.1-sigstore", "sigstore", 2),
    ("v1.1.0-certificate", "certificate", 2),
    ("v1.1.0-elliptic-key", "key", 2),
    ("v1.1.0-sigstore", "sigstore", 2),
    ("simple-go-key", "key", 2),
    ("simple-go-certificate", "certificate", 2),
]


@pytest.mark.parametrize(("name", "kind", "files"), GOOD, ids=[name for name, _, _ in GOOD])
def test_a_bundle_that_must_be_taken_is(tmp_path: Path, name: str, kind: str, files: int) -> None:
    given = Given(tmp_path, name, kind)
    assert given.check().files == files
    signed = next(iter(given.files().values()))
    signed.write_bytes(signed.read_bytes() + b"x")
    with pytest.raises(Inconsistent, match="is not what was signed"):
        given.check()


def test_the_format_before_1_0_which_may_be_taken_is_refused_by_name(tmp_path: Path) -> None:
    given = Given(tmp_path, "v0.2.0-certificate", "certificate")
    with pytest.raises(UnsupportedFeature, match="the format before it"):
        given.check()


# --- what must be refused ----------------------------------------------------------------------


def _missing_file(given: Given) -> None:
    (given.model / "signme-2").unlink()


def _tampered_content(given: Given) -> None:
    (given.model / "signme-1").write_text("TAMPERED CONTENT\n")


def _extra_file(given: Given) -> None:
    (given.model / "injected.bin").write_text("injected after signing\n")


def _wrong_key(given: Given) -> None:
    write_key(given.keys / "wrong.pem")
    given.allow('key = "wrong.pub"')


def _wrong_ca(given: Given) -> None:
    key = write_key(given.keys / "wrong.pem")
    write_certificate(given.keys / "wrong-ca.pem", "root-ca", key, is_authority=True)
    given.allow('roots = ["wrong-ca.pem"]\nname = "intermediate-ca"')


def _truncated(given: Given) -> None:
    given.bundle = given.bundle[:100]


def _instead(data: bytes) -> Callable[[Given], None]:
    def change(given: Given) -> None:
        given.bundle = data

    return change


def _changed(*path: str, to: object) -> Callable[[Given], None]:
    return lambda given: given.change(*path, to=to)


def _in_payload(name: str, to: object) -> Callable[[Given], None]:
    def change(given: Given) -> None:
        said = json.loads(base64.b64decode(json.loads(given.bundle)["dsseEnvelope"]["payload"]))
        *parents, last = name.split(".")
        at = said
        for parent in parents:
            at = at[parent]
        if to is None:
            del at[last]
        else:
            at[last] = to
        payload = base64.b64encode(json.dumps(said, indent=2).encode()).decode()
        given.change("dsseEnvelope", "payload", to=payload)

    return change


def _as(kind: str) -> Callable[[Given], None]:
    return lambda given: given.allow(SIGNER_RULES[kind])


def _identity(identity: str, issuer: str) -> Callable[[Given], None]:
    return lambda given: given.allow(
        f'identity = "{identity}"\nissuer = "{issuer}"\ntrusted_root = "sigstore-trusted-root.json"'
    )


OTHER_TYPE = "application/vnd.dev.sigstore.bundle.v0.1+json"
WORKFLOW = "https://github.com/wrong-org/wrong-repo/.github/workflows/wrong.yml@refs/heads/main"
GIVEN = {
    "key": "v1.1.0-elliptic-key",
    "certificate": "v1.1.0-certificate",
    "sigstore": "v1.1.0-sigstore",
}
"""Which bundle a case begins with."""
BAD: list[tuple[str, str, Callable[[Given], None], type[RefusedRelease]]] = [
    ("certificate-simple-wrong-ca", "certificate", _wrong_ca, BadSignature),
    ("certificate-verify-as-key", "certificate", _as("key"), BadSignature),
    ("certificate-verify-as-sigstore", "certificate", _as("sigstore"), BadSignature),
    ("key-simple-corrupted-bundle", "key", _instead(b"{garbage"), MalformedMessage),
    ("key-simple-empty-resources", "key", _in_payload("predicate.resources", []), BadSignature),
    ("key-simple-extra-file", "key", _extra_file, Inconsistent),
    ("key-simple-missing-file", "key", _missing_file, Inconsistent),
    (
        "key-simple-missing-serialization",
        "key",
        _in_payload("predicate.serialization", None),
        BadSignature,
    ),
    (
        "key-simple-no-signature",
        "key",
        _changed("dsseEnvelope", "signatures", to=[]),
        MalformedMessage,
    ),
    ("key-simple-tampered-content", "key", _tampered_content, Inconsistent),
    ("key-simple-truncated-bundle", "key", _truncated, MalformedMessage),
    ("key-simple-wrong-key", "key", _wrong_key, BadSignature),
    ("key-simple-wrong-mediatype", "key", _changed("mediaType", to=OTHER_TYPE), MalformedMessage),
    (
        "key-simple-wrong-payload-type",
        "key",
        _changed("dsseEnvelope", "payloadType", to="application/json"),
        MalformedMessage,
    ),
    ("key-simple-wrong-statement-type", "key", _in_payload("_type", "x"), BadSignature),
    ("key-verify-as-certificate", "key", _as("certificate"), BadSignature),
    ("key-verify-as-sigstore", "key", _as("sigstore"), BadSignature),
    ("malformed-empty-bundle", "key", _instead(b""), MalformedMessage),
    ("malformed-missing-envelope", "key", _changed("dsseEnvelope", to=None), MalformedMessage),
    ("malformed-wrong-predicate", "key", _in_payload("predicateType", "x"), BadSignature),
    ("sigstore-tampered-content", "sigstore", _tampered_content, Inconsistent),
    ("sigstore-verify-as-key", "sigstore", _as("key"), BadSignature),
    (
        "sigstore-wrong-identity",
        "sigstore",
        _identity(WORKFLOW, "https://token.actions.githubusercontent.com"),
        BadSignature,
    ),
    (
        "sigstore-wrong-issuer",
        "sigstore",
        _identity("stefanb@us.ibm.com", "https://wrong-issuer.example.com"),
        BadSignature,
    ),
]


@pytest.mark.parametrize(("name", "kind", "change", "refusal"), BAD, ids=[case[0] for case in BAD])
def test_a_bundle_that_must_be_refused_is(
    tmp_path: Path,
    name: str,
    kind: str,
    change: Callable[[Given], None],
    refusal: type[RefusedRelease],
) -> None:
    given = Given(tmp_path, GIVEN[kind], kind)
    assert given.check().files, f"{name}: it is good before"
    change(given)
    with pytest.raises(refusal):
        given.check()


def test_a_bundle_whose_certificate_ended_in_2020_is_refused(tmp_path: Path) -> None:
    given = Given(tmp_path, "expired-certificate", "certificate")
    rule = 'roots = ["ca-cert.pem"]\nname = "expired-signer"\n'
    given.allow(rule)
    with pytest.raises(BadSignature, match="from 2020-01-01 to 2020-01-02"):
        given.check()
    given.allow(rule + "allow_expired = true")
    assert given.check().files, "nothing else is wrong with it"


# --- certificates that the suite makes when it runs --------------------------------------------

NOW = (-10, 10)
PAST = (-20, -10)
FUTURE = (10, 20)


def _signed(given: Given, root: tuple[int, int], above: tuple[int, int], **leaf: object) -> None:
    """Sign with a leaf below an intermediate below a root, each with a time of its own."""
    folder = given.keys
    keys = {name: write_key(folder / f"{name}.key") for name in ("top", "middle", "leaf")}
    write_certificate(folder / "top.pem", "top", keys["top"], days=root, is_authority=True)
    issuer = ("top", keys["top"])
    write_certificate(
        folder / "middle.pem", "middle", keys["middle"], issuer, above, is_authority=True
    )
    below = ("middle", keys["middle"])
    write_certificate(folder / "leaf.pem", "leaf", keys["leaf"], below, **leaf)  # type: ignore[arg-type]
    chain = folder / "chain.pem"
    chain.write_bytes((folder / "leaf.pem").read_bytes() + (folder / "middle.pem").read_bytes())
    signing = read_signing_key(folder / "leaf.key", chain, lambda _purpose: None)
    given.bundle = sign_model("simple", given.files(), signing)
    given.allow('roots = ["top.pem"]\nname = "leaf"')


@pytest.mark.parametrize(
    ("root", "above", "leaf"),
    [
        pytest.param(NOW, NOW, {"is_for_code": False}, id="certificate-no-code-signing-eku"),
        pytest.param(NOW, NOW, {"days": PAST}, id="certificate-expired"),
        pytest.param(NOW, NOW, {"days": FUTURE}, id="certificate-not-yet-valid"),
        pytest.param(NOW, PAST, {}, id="certificate-expired-intermediate"),
        pytest.param(PAST, NOW, {}, id="certificate-expired-root"),
        pytest.param(PAST, PAST, {"days": PAST}, id="certificate-all-expired"),
        pytest.param(NOW, FUTURE, {}, id="certificate-not-yet-valid-intermediate"),
        pytest.param(NOW, PAST, {"days": PAST}, id="certificate-expired-intermediate-expired-leaf"),
    ],
)
def test_a_certificate_that_does_not_count_is_refused(
    tmp_path: Path, root: tuple[int, int], above: tuple[int, int], leaf: dict[str, object]
) -> None:
    given = Given(tmp_path, GIVEN["certificate"], "certificate")
    _signed(given, NOW, NOW)
    assert given.check().files, "with all three in their time it is good"
    _signed(given, root, above, **leaf)
    with pytest.raises(BadSignature):
        given.check()
