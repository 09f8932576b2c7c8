"""Certificates and requests that strangers damaged: read or refused, and nobody's process ends.

`cryptography` reads most parts of a certificate when they are asked for, and raises more than
`ValueError`. One renewal by a stolen device, of a version that is none, ended `serve`, and one
answer of a hostile broker a device. Seeded: a failure prints the bytes.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from slotcast_publisher.enrolment.request import read_request
from slotcast_publisher.supply.check import describe_bundle
from slotcast_schemas.enrolment import write_enrolment
from slotcast_schemas.errors import RefusedRelease, SlotcastError, UsageError
from tests.support.damaged_bytes import damaged
from tests.support.damaged_certificates import CRAFTED, no_version
from tests.support.oms_bundles import Given
from tests.support.renewing import DEVICE, LATER, RenewingDesk, client_certificates
from tests.support.signing_devices import new_key

ROUNDS = 1_000
# It is read; cryptography says that later versions of it will refuse it.
pytestmark = pytest.mark.filterwarnings(
    "ignore:Parsed a serial number:cryptography.utils.CryptographyDeprecationWarning"
)


def variants(der: bytes, name: str) -> list[bytes]:
    """Give what is crafted of it, and what chance makes of it."""
    rng = random.Random(name)
    found = [craft(der) for craft in CRAFTED]
    return [*found, *(data for _ in range(ROUNDS) if (data := damaged(der, rng)))]


def holds(work: Callable[[], object], data: bytes, *refusals: type[SlotcastError]) -> bool:
    """Do it; gives whether it was taken. Anything but a refusal fails the test, with a note."""
    try:
        work()
    except refusals as exc:
        is_short = len(str(exc)) < 2_000
    except Exception as exc:
        exc.add_note(data.hex())
        raise
    else:
        return True
    assert is_short, data.hex()
    return False


@pytest.fixture
def desk(tmp_path: Path) -> RenewingDesk:
    return RenewingDesk(tmp_path)


def test_serve_answers_or_passes_over_whatever_a_device_asks_to_have_renewed(
    desk: RenewingDesk,
) -> None:
    crafted = {desk.answer(desk.asked(request=craft(desk.request))) for craft in CRAFTED}
    assert crafted == {"usage"}
    assert {desk.answer(desk.asked(held=craft(desk.held))) for craft in CRAFTED[:2]} == {
        "inconsistent"
    }
    words = set()
    for data in variants(desk.request, "request"):
        words.add(desk.answer(desk.asked(request=data)))
    for data in variants(desk.held, "certificate"):
        words.add(desk.answer(desk.asked(held=data)))
    for data in variants(desk.asked(), "message"):
        words.add(desk.answer(data))
    assert words == {None, "ok", "usage", "inconsistent", "bad_signature"}
    assert desk.answer(desk.asked()) == "ok"


def test_a_device_keeps_or_refuses_whatever_comes_as_its_next_certificate(
    desk: RenewingDesk, tmp_path: Path
) -> None:
    kept = client_certificates(tmp_path / "device", desk.key, desk.held)
    answer = desk.office.answer(DEVICE, desk.asked(), LATER)
    assert answer is not None
    now_s = LATER.timestamp()
    for data in variants(answer.certificate, "answer"):
        holds(lambda data=data: kept.install(data, "it", now_s), data, UsageError)  # type: ignore[misc]
    assert kept.install(answer.certificate, "it", now_s).is_new
    for craft in CRAFTED:
        crafted = craft(answer.certificate)
        assert not holds(lambda data=crafted: kept.install(data, "it", now_s), crafted, UsageError)  # type: ignore[misc]


def test_an_enrolment_request_is_read_or_refused_whatever_its_certificate_request_is() -> None:
    fields = json.loads(write_enrolment(new_key().make_request(DEVICE)))
    der = x509.load_pem_x509_csr(fields["csr"].encode()).public_bytes(Encoding.DER)
    for data in variants(der, "enrolment"):
        lines = base64.encodebytes(data).decode()
        pem = f"-----BEGIN CERTIFICATE REQUEST-----\n{lines}-----END CERTIFICATE REQUEST-----\n"
        request = json.dumps(fields | {"csr": pem}).encode()
        holds(lambda request=request: read_request(request, "it"), data, UsageError)  # type: ignore[misc]


def test_a_model_signers_certificates_are_read_or_refused(tmp_path: Path) -> None:
    given = Given(tmp_path, "v1.1.0-certificate", "certificate")
    path = ("verificationMaterial", "x509CertificateChain", "certificates")
    chain = json.loads(given.bundle)["verificationMaterial"]["x509CertificateChain"]["certificates"]
    taken = 0
    for number, one in enumerate(chain):
        rng = random.Random(number)
        der = base64.b64decode(one["rawBytes"])
        for data in (no_version(der), *(damaged(der, rng) for _ in range(ROUNDS // 4))):
            given.change(*path, str(number), "rawBytes", to=base64.b64encode(data).decode())
            taken += holds(given.check, data, RefusedRelease)
            holds(lambda: describe_bundle(given.bundle), data, RefusedRelease)
        given.change(*path, str(number), "rawBytes", to=one["rawBytes"])
    assert taken < ROUNDS, "some damage leaves the bytes as they are"
    assert given.check().files == 2
