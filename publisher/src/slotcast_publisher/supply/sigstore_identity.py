"""Whether a Sigstore identity has signed a bundle: judged by Sigstore's own library, offline.

What makes such a bundle believable is not in it alone: a certificate of minutes, by an authority
that checked who asked; that authority's entry in a log of certificates; an entry in a log of
signatures, with the log's signed time. A trusted root is the file with the keys of all of these.
The library is the extra `slotcast-publisher[sigstore]`, and is imported when such a bundle comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from slotcast_publisher.supply.manifest import PAYLOAD_TYPE
from slotcast_schemas.errors import BadSignature, MalformedMessage, UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from sigstore.verify import Verifier

    from slotcast_publisher.supply.bundle import Bundle
    from slotcast_publisher.supply.policy import AllowedSigner


def check_identity(bundle: Bundle, signer: AllowedSigner) -> None:
    """See that an identity has signed a bundle, and that the log has it; asks nobody for it.

    Args:
        bundle: the bundle.
        signer: which identity, by which issuer, and whose logs and authorities count.

    Raises:
        BadSignature: it has not, or something that proves it is missing.
        MalformedMessage: the bundle cannot be read.
        UsageError: the trusted root cannot be read, or the library is not installed.
    """
    if signer.trusted_root is None:
        raise TypeError("expected a signer that is a Sigstore identity")
    verifier = _verifier(signer.trusted_root)
    from sigstore.errors import VerificationError
    from sigstore.models import Bundle as SigstoreBundle
    from sigstore.verify.policy import Identity

    try:
        found = SigstoreBundle.from_json(bundle.document)
        wanted = Identity(identity=signer.name, issuer=signer.issuer)
        kind, payload = verifier.verify_dsse(found, wanted)
    except VerificationError as exc:
        raise BadSignature(f"model signature: expected {signer.text}: {exc!s:.300}") from exc
    except Exception as exc:  # whatever the library says of what a stranger wrote
        raise MalformedMessage(f"model signature: no Sigstore bundle: {exc!s:.300}") from exc
    if (kind, payload) != (PAYLOAD_TYPE, bundle.payload):
        raise BadSignature("model signature: what the identity signed is not what was read here")


def _verifier(trusted_root: Path) -> Verifier:
    try:
        from sigstore.models import TrustedRoot
        from sigstore.verify import Verifier
    except ImportError as exc:
        raise UsageError(
            "a Sigstore identity is judged by Sigstore's library: install"
            " slotcast-publisher[sigstore]"
        ) from exc
    try:
        return Verifier(trusted_root=TrustedRoot.from_file(str(trusted_root)))
    except Exception as exc:  # whatever the library says of a file that is none
        raise UsageError(
            f"{trusted_root}: expected a trusted root of Sigstore, in JSON: {exc!s:.300}"
        ) from exc
