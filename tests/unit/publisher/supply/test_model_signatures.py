"""Bundles of OpenSSF's model-signing: its own are judged as they should be, and it takes ours."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from slotcast_publisher.supply.check import BUNDLE_PATH, check_signed_model, describe_bundle
from slotcast_publisher.supply.policy import Rule, read_policy
from slotcast_publisher.supply.sign import SigningKey, read_signing_key, sign_model
from slotcast_schemas.errors import (
    BadSignature,
    Inconsistent,
    MalformedMessage,
    RefusedRelease,
    UnsupportedFeature,
    UsageError,
)
from tests.support.model_signing import (
    NOW_S,
    resigned,
    statement_of,
    stock,
    stock_sign,
    write_certificate,
    write_key,
)

DOCS = Path(__file__).parents[4] / "docs"
DAY_S = 86400.0


class Trainer:
    """A folder with a model of two files, a key, a certificate from an authority, and a policy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.model = folder / "model"
        (self.model / "data").mkdir(parents=True)
        (self.model / "model.onnx").write_bytes(b"weights" * 1000)
        (self.model / "data/labels.txt").write_bytes(b"cat\ndog\n")
        self.key = write_key(folder / "trainer.key")
        self.ca = write_key(folder / "ca.key")
        write_certificate(folder / "ca.pem", "CA", self.ca, is_authority=True)
        self.certify("trainer.pem")
        self.bundle = stock_sign(self.model, folder / "trainer.key", folder / "key.sig")
        self.policy = folder / "policy.toml"
        self.allow('key = "trainer.pub"')

    def certify(self, name: str, **more: object) -> None:
        """Make the trainer a certificate of the authority."""
        issuer = ("CA", self.ca)
        write_certificate(self.folder / name, "trainer@example.com", self.key, issuer, **more)  # type: ignore[arg-type]

    def allow(self, *rules: str, models: str = '["detector"]') -> None:
        """Write the policy."""
        text = "".join(f"[[allow]]\nmodels = {models}\n{rule}\n" for rule in rules)
        self.policy.write_text(f"format = 1\n{text}")

    def allow_certificate(self, name: str = "trainer@example.com", more: str = "") -> None:
        """Allow whom the authority calls so."""
        self.allow(f'roots = ["ca.pem"]\nname = "{name}"\n{more}')

    def by_certificate(self, certificate: str = "trainer.pem") -> bytes:
        """Give a bundle that brings the certificate and the authority's."""
        chain = [self.folder / certificate, self.folder / "ca.pem"]
        return stock_sign(self.model, self.folder / "trainer.key", self.folder / "c.sig", chain)

    @property
    def files(self) -> dict[str, Path]:
        """The model's files, by name."""
        found = sorted(self.model.rglob("*"))
        return {str(p.relative_to(self.model)): p for p in found if p.is_file()}

    def check(
        self, bundle: bytes | None = None, model: str = "detector", now_s: float = NOW_S
    ) -> str:
        """Check a bundle; gives who signed it."""
        data = self.bundle if bundle is None else bundle
        policy = read_policy(self.policy)
        return check_signed_model(data, policy, model, self.files, now_s).signer


@pytest.fixture
def trainer(tmp_path: Path) -> Trainer:
    return Trainer(tmp_path)


# --- bundles of the package, judged here -------------------------------------------------------


def test_a_good_bundle_of_the_package_is_taken_by_key_and_by_certificate(trainer: Trainer) -> None:
    assert trainer.check() == "the key trainer.pub"
    trainer.allow_certificate()
    assert trainer.check(trainer.by_certificate()) == (
        "trainer@example.com, by a certificate from ca.pem"
    )


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()], ids=lambda c: c.name)
def test_its_other_curves_are_taken(trainer: Trainer, curve: ec.EllipticCurve) -> None:
    write_key(trainer.folder / "trainer.key", curve)
    bundle = stock_sign(trainer.model, trainer.folder / "trainer.key", trainer.folder / "x.sig")
    assert trainer.check(bundle)


def test_its_model_of_one_file_is_taken_under_any_name(trainer: Trainer) -> None:
    model = trainer.model / "model.onnx"
    bundle = stock_sign(model, trainer.folder / "trainer.key", trainer.folder / "one.sig")
    policy = read_policy(trainer.policy)
    assert check_signed_model(bundle, policy, "detector", {"net.onnx": model}, NOW_S).files == 1


def _tamper(trainer: Trainer) -> bytes:
    (trainer.model / "model.onnx").write_bytes(b"other" * 1400)
    return trainer.bundle


def _add(trainer: Trainer) -> bytes:
    (trainer.model / "more.txt").write_text("unsigned")
    return trainer.bundle


def _remove(trainer: Trainer) -> bytes:
    (trainer.model / "data/labels.txt").unlink()
    return trainer.bundle


def _wrong_key(trainer: Trainer) -> bytes:
    write_key(trainer.folder / "other.key")
    return stock_sign(trainer.model, trainer.folder / "other.key", trainer.folder / "o.sig")


def _wrong_key_that_claims_the_right_one(trainer: Trainer) -> bytes:
    other = json.loads(_wrong_key(trainer))
    other["verificationMaterial"] = json.loads(trainer.bundle)["verificationMaterial"]
    return json.dumps(other).encode()


def _changed(**changes: Any) -> Callable[[Trainer], bytes]:
    return lambda trainer: resigned(trainer.bundle, trainer.key, **changes)


def _with_resources(trainer: Trainer, **changes: str) -> bytes:
    resources = statement_of(trainer.bundle)["predicate"]["resources"]
    resources[0].update(changes)
    return resigned(trainer.bundle, trainer.key, predicate__resources=resources)


def _payload_changed(trainer: Trainer) -> bytes:
    found = json.loads(trainer.bundle)
    statement = statement_of(trainer.bundle)
    statement["subject"][0]["name"] = "another"
    payload = base64.b64encode(json.dumps(statement).encode()).decode()
    found["dsseEnvelope"]["payload"] = payload
    return json.dumps(found).encode()


def _keyless(trainer: Trainer) -> bytes:
    found = json.loads(trainer.bundle)
    found["verificationMaterial"] = {"certificate": {"rawBytes": "AAAA"}, "tlogEntries": []}
    return json.dumps(found).encode()


def _two_signers(trainer: Trainer) -> bytes:
    found = json.loads(trainer.by_certificate())
    found["verificationMaterial"]["publicKey"] = {"hint": ""}
    return json.dumps(found).encode()


def _key_twice(trainer: Trainer) -> bytes:
    text = trainer.bundle.decode().rstrip()
    return (text[:-1] + ',"dsseEnvelope":{}}').encode()


def _payload_key_twice(trainer: Trainer) -> bytes:
    """What a reader that takes the first sees, and one that takes the last."""
    text = json.dumps(statement_of(trainer.bundle))
    text = text.replace('"resources"', '"resources": [], "resources"')
    return resigned(trainer.bundle, trainer.key, text)


def _by_md5(trainer: Trainer) -> bytes:
    predicate = statement_of(trainer.bundle)["predicate"]
    predicate["serialization"]["hash_type"] = "md5"
    for resource in predicate["resources"]:
        resource["algorithm"] = "md5"
    return resigned(trainer.bundle, trainer.key, predicate=predicate)


def _two_signatures(trainer: Trainer) -> bytes:
    found = json.loads(trainer.bundle)
    found["dsseEnvelope"]["signatures"] *= 2
    return json.dumps(found).encode()


SHARDS = {"method": "shards", "hash_type": "sha256", "shard_size": 10, "allow_symlinks": False}


@pytest.mark.parametrize(
    ("make", "kind", "said"),
    [
        (_tamper, Inconsistent, "model.onnx is not what was signed"),
        (_add, Inconsistent, "more.txt is not signed"),
        (_remove, Inconsistent, "data/labels.txt is signed and was not given"),
        (_wrong_key, BadSignature, "expected the key trainer.pub"),
        (_wrong_key_that_claims_the_right_one, BadSignature, "did not sign it"),
        (_payload_changed, BadSignature, "did not sign it"),
        (_changed(predicateType="https://slsa.dev/provenance/v1"), MalformedMessage, "predicate"),
        (_changed(predicateType="https://model_signing/Digests/v0.1"), MalformedMessage, "v1.0"),
        (_changed(_type="https://in-toto.io/Statement/v0.1"), MalformedMessage, "statement's type"),
        (_changed(subject=[]), MalformedMessage, "expected one subject"),
        (_changed(predicate__resources=[]), MalformedMessage, "1 to"),
        (_changed(subject=[{"name": "m", "digest": {"sha256": "00"}}]), BadSignature, "digest"),
        (_changed(predicate__serialization=SHARDS), UnsupportedFeature, "whole files"),
        (_by_md5, UnsupportedFeature, "got 'md5'"),
        (lambda t: _with_resources(t, digest="zz"), MalformedMessage, "no digest"),
        (lambda t: _with_resources(t, digest="00" * 20), MalformedMessage, "no digest"),
        (lambda t: _with_resources(t, name="model.onnx"), MalformedMessage, "named twice"),
        (_keyless, BadSignature, "got a Sigstore identity"),
        (_two_signers, MalformedMessage, "expected one of"),
        (_key_twice, MalformedMessage, "twice"),
        (_payload_key_twice, MalformedMessage, "twice"),
        (lambda t: _with_resources(t, algorithm="blake2b"), MalformedMessage, "by 'sha256'"),
        (_two_signatures, MalformedMessage, "expected one, got 2"),
        (lambda _t: b"[]", MalformedMessage, "no Sigstore bundle"),
        (lambda _t: b"{" * 100, MalformedMessage, "no Sigstore bundle"),
        (lambda _t: b" " * 5_000_000, MalformedMessage, "at most"),
    ],
)
def test_what_is_not_good_is_refused_with_what_was_expected(
    trainer: Trainer, make: Callable[[Trainer], bytes], kind: type[RefusedRelease], said: str
) -> None:
    bundle = make(trainer)
    with pytest.raises(kind, match=said):
        trainer.check(bundle)


@pytest.mark.parametrize("name", ["cache/evil.onnx", "notes.txt"])
def test_a_file_that_its_signer_left_out_is_not_taken_with_the_others(
    trainer: Trainer, name: str
) -> None:
    predicate = statement_of(trainer.bundle)["predicate"]
    predicate["serialization"]["ignore_paths"] = ["cache", "notes.txt"]
    bundle = resigned(trainer.bundle, trainer.key, predicate=predicate)
    assert trainer.check(bundle)
    (trainer.model / name).parent.mkdir(exist_ok=True)
    (trainer.model / name).write_text("planted")
    with pytest.raises(Inconsistent, match=f"{name} is not signed .* was left out when"):
        trainer.check(bundle)


def test_a_signature_of_anything_but_a_statement_of_in_toto_is_none(trainer: Trainer) -> None:
    found = json.loads(trainer.bundle)
    found["dsseEnvelope"]["payloadType"] = "text/plain"
    with pytest.raises(MalformedMessage, match="text/plain"):
        trainer.check(json.dumps(found).encode())


# --- certificates ------------------------------------------------------------------------------


def test_a_certificate_counts_while_it_does_and_later_only_by_the_policys_word(
    trainer: Trainer,
) -> None:
    bundle = trainer.by_certificate()
    trainer.allow_certificate()
    for now_s in (NOW_S - 11 * DAY_S, NOW_S + 11 * DAY_S):
        with pytest.raises(BadSignature, match="counts now"):
            trainer.check(bundle, now_s=now_s)
    trainer.allow_certificate(more="allow_expired = true")
    assert trainer.check(bundle, now_s=NOW_S + 11 * DAY_S)


def test_another_name_another_authority_and_one_that_may_not_sign_are_refused(
    trainer: Trainer,
) -> None:
    bundle = trainer.by_certificate()
    trainer.allow_certificate(name="boss@example.com")
    with pytest.raises(BadSignature, match=r"of boss@example[.]com, got"):
        trainer.check(bundle)
    trainer.allow_certificate()
    stranger = write_key(trainer.folder / "stranger.key")
    write_certificate(trainer.folder / "ca.pem", "CA", stranger, is_authority=True)
    with pytest.raises(BadSignature, match="does not lead to a root"):
        trainer.check(bundle)
    write_certificate(trainer.folder / "ca.pem", "CA", trainer.ca, is_authority=True)
    trainer.certify("weak.pem", may_sign=False)
    with pytest.raises(BadSignature, match="not one that may sign"):
        trainer.check(trainer.by_certificate("weak.pem"))


def test_whom_a_trainers_certificate_vouches_for_is_nobody(trainer: Trainer) -> None:
    """A leaf certificate makes no authority: its owner cannot name others."""
    thief = write_key(trainer.folder / "thief.key")
    path = trainer.folder / "thief.pem"
    write_certificate(path, "boss@example.com", thief, ("trainer@example.com", trainer.key))
    chain = [path, trainer.folder / "trainer.pem", trainer.folder / "ca.pem"]
    bundle = stock_sign(trainer.model, trainer.folder / "thief.key", trainer.folder / "t", chain)
    trainer.allow_certificate(name="boss@example.com")
    with pytest.raises(BadSignature, match="of no authority"):
        trainer.check(bundle)


# --- the policy --------------------------------------------------------------------------------


def test_a_signer_may_sign_the_models_that_the_policy_names_and_no_other(trainer: Trainer) -> None:
    with pytest.raises(BadSignature, match="lets nobody sign 'speech'"):
        trainer.check(model="speech")
    trainer.allow('key = "trainer.pub"', models='["speech-*"]')
    assert trainer.check(model="speech-de")
    write_key(trainer.folder / "second.key")
    trainer.allow('key = "second.pub"', 'key = "trainer.pub"')
    assert trainer.check() == "the key trainer.pub"
    with pytest.raises(BadSignature, match=r"the key second[.]pub; or the key trainer[.]pub"):
        trainer.check(_wrong_key(trainer))
    trainer.allow_certificate()
    with pytest.raises(BadSignature, match="got a bare key"):
        trainer.check()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "format"),
        ("format = 2\nallow = []", "format"),
        ("format = 1\nallow = []", "allow"),
        ('format = 1\n[[allow]]\nmodels = ["a"]\nkey = "k"\nkeys = "k"', "keys"),
        ('format = 1\n[[allow]]\nmodels = ["a"]', "either `key`"),
        ('format = 1\n[[allow]]\nmodels = ["a"]\nroots = ["r"]', "either `key`"),
        ('format = 1\n[[allow]]\nmodels = ["a"]\nkey = "k"\nroots = ["r"]\nname = "n"', "either"),
        ("not toml", "is not TOML"),
    ],
)
def test_a_policy_that_says_nothing_clear_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=said):
        read_policy(path)


def test_every_key_of_the_policy_is_documented() -> None:
    text = (DOCS / "cli.md").read_text()
    for name in Rule.__struct_fields__:
        assert f"| `{name}` |" in text, name


# --- ours, judged by the package ---------------------------------------------------------------


def test_the_package_takes_what_we_sign_with_a_key_and_with_a_certificate(trainer: Trainer) -> None:
    folder = trainer.folder
    signing = read_signing_key(folder / "trainer.key", None, lambda _purpose: None)
    bundle = folder / "ours.sig"
    bundle.write_bytes(sign_model("detector", trainer.files, signing))
    assert describe_bundle(bundle.read_bytes()).startswith("2 files of 'detector', by the key ")
    options = ("--signature", bundle, "--public_key", folder / "trainer.pub")
    done = stock("verify", "key", trainer.model, *options)
    assert done.returncode == 0, done.stderr
    (trainer.model / "model.onnx").write_bytes(b"other")
    assert stock("verify", "key", trainer.model, *options).returncode != 0, "it does look"

    chain = folder / "chain.pem"
    chain.write_bytes((folder / "trainer.pem").read_bytes() + (folder / "ca.pem").read_bytes())
    signing = read_signing_key(folder / "trainer.key", chain, lambda _purpose: None)
    bundle.write_bytes(sign_model("detector", trainer.files, signing))
    options = ("--signature", bundle, "--certificate_chain", folder / "ca.pem")
    done = stock("verify", "certificate", trainer.model, *options)
    assert done.returncode == 0, done.stderr


def test_the_same_files_and_key_give_the_same_bundle(trainer: Trainer) -> None:
    made = {sign_model("m", trainer.files, SigningKey(key=trainer.key)) for _ in range(3)}
    assert len(made) == 1
    assert statement_of(made.pop())["predicate"]["serialization"]["ignore_paths"] == [BUNDLE_PATH]
