"""Models given as what a trainer signed that are not that, or that nobody judged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from slotcast_publisher.cli import app
from slotcast_publisher.repository import Repository
from slotcast_publisher.supply.bundle import write_bundle
from slotcast_publisher.supply.check import BUNDLE_PATH, sha256_of_files
from slotcast_publisher.supply.manifest import write_manifest
from slotcast_schemas.errors import BadSignature, Inconsistent, MalformedMessage, UsageError
from tests.support.cli_runner import CliRunner
from tests.support.fleet import Publisher, model_bytes
from tests.support.model_signing import resigned, statement_of, stock, write_key

pytestmark = pytest.mark.usefixtures("quick_probes")

NAME = "trainer@example.com"


class Signed:
    """A model of two files, its trainer's bundle, a policy, and a repository."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repo = Publisher.make(folder / "repo").path
        self.model = folder / "model"
        self.model.mkdir()
        (self.model / "model.onnx").write_bytes(model_bytes(1))
        (self.model / "labels.txt").write_bytes(b"cat\ndog\n")
        self.key = write_key(folder / "trainer.key")
        self.bundle, self.policy = folder / "given.sig", folder / "policy.toml"
        self.allow('key = "trainer.pub"')
        self.sign()

    def allow(self, rule: str, models: str = '["clf"]') -> None:
        """Write the policy."""
        self.policy.write_text(f"format = 1\n[[allow]]\nmodels = {models}\n{rule}\n")

    def sign(
        self,
        name: str = "clf",
        ignored: tuple[str, ...] = (BUNDLE_PATH, "samples.npz"),
        chain: Sequence[x509.Certificate] = (),
    ) -> None:
        """Sign the files that are there."""
        files = {path.name: path for path in self.model.iterdir() if path.name != BUNDLE_PATH}
        manifest = write_manifest(name, sha256_of_files(files), ignored)
        self.bundle.write_bytes(write_bundle(manifest, self.key, tuple(chain)))

    def release(self, version: str, *words: object, bundle: Path | None = None) -> str:
        """Release what is given, as far as it is what was signed; gives what is said."""
        signed = ("--oms", bundle or self.bundle, "--policy", self.policy)
        return run("release", self.repo, "clf", version, *words, *signed)

    def check(self, model: str = "clf") -> str:
        """Judge the bundle."""
        options = ("--model", model, "--policy", self.policy)
        return run("oms", "check", self.bundle, self.model, *options)

    def versions(self) -> list[str]:
        """Name the releases."""
        return sorted(Repository(self.repo).store.versions("clf"))


def run(*words: object) -> str:
    done = CliRunner().invoke(app, [str(word) for word in words])
    if done.exception is not None:
        raise done.exception
    return done.output


@pytest.fixture
def signed(tmp_path: Path) -> Signed:
    return Signed(tmp_path)


# --- ways around the question ---------------------------------------------------------------------


def test_files_of_a_release_that_nobody_signed_are_not_released_again_as_signed(
    signed: Signed,
) -> None:
    run("release", signed.repo, "clf", "1", signed.model)
    with pytest.raises(UsageError, match="--oms judges files that are given"):
        signed.release("2", "--same-as", "1")
    assert signed.versions() == ["1"]


@pytest.mark.parametrize("found", [b"junk", b"{}"])
def test_a_release_that_is_there_is_judged_before_it_is_said_to_be_good(
    signed: Signed, found: bytes
) -> None:
    """Released before without a question, with a bundle of nobody beside the model."""
    (signed.model / BUNDLE_PATH).write_bytes(found)
    run("release", signed.repo, "clf", "1", signed.model)
    with pytest.raises(MalformedMessage):
        signed.release("1", signed.model, bundle=signed.model / BUNDLE_PATH)


def test_a_trainer_who_may_not_sign_any_more_is_not_told_that_all_is_well(signed: Signed) -> None:
    signed.release("1", signed.model)
    signed.release("1", signed.model)
    write_key(signed.folder / "other.key")
    signed.allow('key = "other.pub"')
    with pytest.raises(BadSignature, match=r"other\.pub"):
        signed.release("1", signed.model)


@pytest.mark.parametrize("beside", [False, True])
def test_a_bundle_that_is_not_there_is_said(signed: Signed, beside: bool) -> None:
    if beside:
        (signed.model / BUNDLE_PATH).write_bytes(signed.bundle.read_bytes())
    signed.bundle.unlink()
    with pytest.raises(UsageError, match="expected a file or a folder at"):
        signed.release("1", signed.model)
    with pytest.raises(UsageError, match="could not read"):
        signed.check()


@pytest.mark.parametrize(
    "rule",
    [
        'identity = "a@b"\nissuer = ""\ntrusted_root = "root.json"',
        'identity = ""\nissuer = "https://b"\ntrusted_root = "root.json"',
        'roots = ["ca.pem"]\nname = ""',
        'roots = [""]\nname = "a"',
        'key = ""',
    ],
)
def test_a_policy_with_an_empty_word_is_refused(signed: Signed, rule: str) -> None:
    """By an empty issuer, Sigstore's library asks for none: any service's word would do."""
    signed.allow(rule)
    with pytest.raises(UsageError, match="expected"):
        signed.check()


# --- what was signed ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "./labels.txt",
        "x/../labels.txt",
        "/labels.txt",
        "LABELS.TXT",
        "labels.txt ",
        "labels\\ud800",
    ],
)
def test_another_spelling_of_a_files_name_is_another_file(signed: Signed, name: str) -> None:
    bundle = signed.bundle.read_bytes()
    text = json.dumps(statement_of(bundle)).replace("labels.txt", name)
    signed.bundle.write_bytes(resigned(bundle, signed.key, text))
    with pytest.raises(Inconsistent, match=r"labels.txt is not signed"):
        signed.release("1", signed.model)
    assert signed.versions() == []


def test_two_files_that_changed_names_are_not_what_was_signed(signed: Signed) -> None:
    one, other = signed.model / "model.onnx", signed.model / "labels.txt"
    data = one.read_bytes(), other.read_bytes()
    one.write_bytes(data[1])
    other.write_bytes(data[0])
    with pytest.raises(Inconsistent, match="is not what was signed"):
        signed.release("1", signed.model)


@pytest.mark.parametrize(
    "data",
    [b"[" * 2_000_000, b'{"a":' * 500_000, b'{"mediaType":' + b"9" * 100_000 + b"}", b"null"],
    ids=["deep lists", "deep objects", "a long number", "nothing"],
)
def test_a_bundle_that_is_made_to_end_its_reader_is_refused(signed: Signed, data: bytes) -> None:
    signed.bundle.write_bytes(data)
    with pytest.raises(MalformedMessage):
        signed.check()
    deep = '{"a":' * 200_000 + "1" + "}" * 200_000
    signed.sign()
    signed.bundle.write_bytes(resigned(signed.bundle.read_bytes(), signed.key, deep))
    with pytest.raises(MalformedMessage, match="nested too deeply"):
        signed.check()


def test_a_model_of_a_signer_given_as_another_is_held_back_by_the_policy_alone(
    signed: Signed,
) -> None:
    """What a signer calls a model is a folder's name: who signs for two models has two keys."""
    signed.sign("speech")
    signed.allow('key = "trainer.pub"', models='["speech"]')
    with pytest.raises(BadSignature, match="lets nobody sign 'clf'"):
        signed.check()
    signed.allow('key = "trainer.pub"', models='["*"]')
    assert "of 'speech'" in signed.check()


# --- what is handed on ----------------------------------------------------------------------------


@pytest.mark.parametrize("leaves_out", [True, False])
def test_where_the_kept_bundle_will_not_verify_is_said(signed: Signed, leaves_out: bool) -> None:
    """A release adds samples: a stock verifier of the slot passes over what was left out alone."""
    signed.sign(ignored=(BUNDLE_PATH, "samples.npz") if leaves_out else (BUNDLE_PATH,))
    said = signed.release("1", signed.model, "--seed", 1)
    assert ("a verifier of model.sig on a device refuses" in said) is not leaves_out
    slot = Repository(signed.repo).store.folder("clf", "1").files_dir
    public = signed.folder / "trainer.pub"
    judged = ("--signature", slot / BUNDLE_PATH, "--public_key", public)
    assert (stock("verify", "key", slot, *judged).returncode == 0) is leaves_out


# --- certificates ---------------------------------------------------------------------------------


class Authorities:
    """A root that the policy allows, an authority below it, and the trainer's certificate."""

    def __init__(self, signed: Signed) -> None:
        self._signed = signed
        self._root_key, self._key = (ec.generate_private_key(ec.SECP256R1()) for _ in "12")
        self._root = self._make("Root", self._root_key, is_authority=True)
        (signed.folder / "ca.pem").write_bytes(self._root.public_bytes(Encoding.PEM))
        signed.allow(f'roots = ["ca.pem"]\nname = "{NAME}"')

    def sign(self, *of_authority: Any, of_leaf: Sequence[Any] = ()) -> None:
        """Sign by a certificate of an authority with these further extensions."""
        below = (self._root, self._root_key)
        authority = self._make("A", self._key, below, of_authority, is_authority=True)
        code = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), False)
        leaf = self._make(NAME, self._signed.key, (authority, self._key), (code, *of_leaf))
        self._signed.sign(chain=(leaf, authority))

    def _make(
        self,
        name: str,
        key: ec.EllipticCurvePrivateKey,
        issuer: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None = None,
        extensions: Sequence[Any] = (),
        *,
        is_authority: bool = False,
    ) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if issuer is None else issuer[0].subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(is_authority, None), critical=True)
        )
        for one, is_critical in extensions:
            made = made.add_extension(one, is_critical)
        return made.sign(key if issuer is None else issuer[1], hashes.SHA256())


UNKNOWN = (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\x05\x00"), True)
FOR_SERVERS = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False)
FOR_ALL = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False)
ELSEWHERE = x509.NameConstraints([x509.RFC822Name("example.org")], None)


def test_a_certificate_of_an_authority_below_the_root_is_taken(signed: Signed) -> None:
    authorities = Authorities(signed)
    for extensions in ((), (FOR_ALL,)):
        authorities.sign(*extensions)
        assert NAME in signed.check()


@pytest.mark.parametrize("is_critical", [True, False])
def test_an_authority_for_other_names_vouches_for_nobody(signed: Signed, is_critical: bool) -> None:
    Authorities(signed).sign((ELSEWHERE, is_critical))
    with pytest.raises(BadSignature, match=r"not understood here: the extension 2.5.29.30"):
        signed.check()


def test_an_authority_for_servers_vouches_for_no_trainer(signed: Signed) -> None:
    Authorities(signed).sign(FOR_SERVERS)
    with pytest.raises(BadSignature, match="for other things than code signing"):
        signed.check()


@pytest.mark.parametrize("of_leaf", [True, False])
def test_a_limit_that_must_be_understood_and_is_not_counts(signed: Signed, of_leaf: bool) -> None:
    extensions = [UNKNOWN]
    if of_leaf:
        Authorities(signed).sign(of_leaf=extensions)
    else:
        Authorities(signed).sign(*extensions)
    with pytest.raises(BadSignature, match=r"not understood here: the extension 1.2.3.4.5"):
        signed.check()
