"""A bill of materials of a release, by CycloneDX: what it is made of, and what it was made from.

The same release gives the same bytes: number, date and references follow from what is signed.
The library is the extra `slotcast-publisher[bom]`, and is imported when a bill is asked for.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from slotcast_schemas.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cyclonedx.model import Property
    from cyclonedx.model.component import Component

    from slotcast_schemas.messages import Offer, Release
    from slotcast_schemas.messages.offer import Base
    from slotcast_schemas.messages.release import File, Tensor

_NAMESPACE: Final = uuid.UUID("6f1b1f0e-6c5e-5b0a-9a7e-2d9b0c6f5a11")
"""What the numbers of all bills are made below, with the digest of the image and the version."""


def make_bom(release: Release, offer: Offer | None = None) -> str:
    """Give the bill of materials of a release: CycloneDX 1.6, in JSON.

    Args:
        release: the release.
        offer: its offer, which says from which releases there are deltas.

    Raises:
        UsageError: the library is not installed.
    """
    try:
        from cyclonedx.model.bom import Bom, BomMetaData
        from cyclonedx.output.json import JsonV1Dot6
    except ImportError as exc:
        raise UsageError(
            "--bom needs CycloneDX's library: install slotcast-publisher[bom]"
        ) from exc
    made_of = f"{release.model} {release.version} {release.image_sha256.hex()}"
    bom = Bom(
        serial_number=uuid.uuid5(_NAMESPACE, made_of),
        metadata=BomMetaData(
            timestamp=datetime.fromtimestamp(release.created, UTC),
            component=_model(release, offer),
        ),
    )
    return JsonV1Dot6(bom).output_as_string(indent=2) + "\n"


def _model(release: Release, offer: Offer | None) -> Component:
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType, Pedigree

    bases = {p.base.sequence: p.base for p in (offer.payloads if offer else ()) if p.base}
    ancestors = [_ancestor(release.model, base) for _, base in sorted(bases.items())]
    if release.rebased is not None:
        ancestors.append(_given(release))
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=release.model,
        version=release.version,
        bom_ref=f"{release.model}@{release.version}",
        description=release.notes or None,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=release.image_sha256.hex())],
        pedigree=Pedigree(ancestors=ancestors) if ancestors else None,
        components=[_file(release, file) for file in release.files],
        properties=_properties(_facts(release)),
    )


def _file(release: Release, file: File) -> Component:
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        type=ComponentType.FILE,
        name=file.path,
        bom_ref=f"{release.model}@{release.version}/{file.path}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=file.sha256.hex())],
        properties=_properties([("role", file.role), ("size_bytes", str(file.size_bytes))]),
    )


def _ancestor(model: str, base: Base) -> Component:
    """Give a release from which devices get this one by a delta."""
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType

    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=model,
        version=base.version,
        bom_ref=f"{model}@{base.version}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=base.image_sha256.hex())],
        properties=_properties([("sequence", str(base.sequence))]),
    )


def _given(release: Release) -> Component:
    """Give the model that was handed to the publisher, where it was moved onto another one."""
    from cyclonedx.model import HashAlgorithm, HashType
    from cyclonedx.model.component import Component, ComponentType

    rebased = release.rebased
    if rebased is None:
        raise TypeError("expected a release that was rebased")
    return Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=f"{release.model}, as given",
        bom_ref=f"{release.model}@{release.version}, as given",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=rebased.given_sha256.hex())],
        properties=_properties([(f"rebased:{rebased.measure}", repr(rebased.distance))]),
    )


def _facts(release: Release) -> Iterable[tuple[str, str]]:
    runtime = release.runtime
    yield "sequence", str(release.sequence)
    yield "entry", release.entry
    yield "size_bytes", str(release.image_size_bytes)
    yield "format", runtime.format
    if runtime.onnxruntime:
        yield "runtime:onnxruntime", runtime.onnxruntime
    for domain, version in sorted(runtime.opsets.items()):
        yield f"opset:{domain or 'ai.onnx'}", str(version)
    for word, tensors in (("input", release.inputs), ("output", release.outputs)):
        for tensor in tensors:
            yield f"{word}:{tensor.name}", _kind(tensor)
    for change in release.changes:
        yield "changes", change
    if release.advisory:
        yield "advisory", release.advisory
    if release.supported_until:
        yield "supported_until", str(release.supported_until)


def _kind(tensor: Tensor) -> str:
    sizes = ("?" if size is None else str(size) for size in tensor.shape)
    return f"{tensor.dtype}[{', '.join(sizes)}]"


def _properties(facts: Iterable[tuple[str, str]]) -> list[Property]:
    from cyclonedx.model import Property

    return [Property(name=f"slotcast:{name}", value=value) for name, value in facts]
