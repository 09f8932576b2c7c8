"""Messages for tests: a plain example of each kind, and hypothesis strategies for all others.

The strategies are read off the types themselves (`msgspec.inspect`), so a new field is generated
without a word here; only rules between fields are written down, for the three classes that have
such rules.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final, TypeVar

import msgspec
from hypothesis import strategies as st
from msgspec import inspect

from slotcast_schemas import limits
from slotcast_schemas.messages import (
    Certificate,
    MapPart,
    Metrics,
    Notice,
    Offer,
    Presence,
    Release,
    Renewal,
    Status,
    Want,
)
from slotcast_schemas.messages.metrics import Latency, Summary
from slotcast_schemas.messages.offer import Base, Group, Payload
from slotcast_schemas.messages.release import File, Probe, Rebased, Runtime, Tensor, Trial
from slotcast_schemas.messages.status import (
    Check,
    Evidence,
    Inventory,
    ModelStatus,
    Progress,
    SlotStatus,
    StatusFile,
    Target,
)
from slotcast_schemas.messages.want import WantedBlock
from slotcast_schemas.states import State
from slotcast_schemas.wire import Message

S = TypeVar("S")
SMALL: Final = 3
"""Most items of a generated list or map; the bounds themselves have tests of their own."""


def sha(text: str) -> bytes:
    """Give some digest."""
    return hashlib.sha256(text.encode()).digest()


def release(**changes: Any) -> Release:
    """Give a release of two files, with everything filled in."""
    given: dict[str, Any] = {
        "model": "detector",
        "version": "1.2.0",
        "sequence": 7,
        "created": 1_790_000_000,
        "files": (
            File(path="model.onnx", size_bytes=1000, sha256=sha("m"), role="model"),
            File(path="data/labels.txt", size_bytes=24, sha256=sha("l")),
        ),
        "image_size_bytes": 1024,
        "image_sha256": sha("image"),
        "entry": "model.onnx",
        "inputs": (Tensor(name="x", dtype="tensor(float)", shape=("batch", 3, None)),),
        "outputs": (Tensor(name="y", dtype="tensor(float)", shape=("batch", 10)),),
        "runtime": Runtime(onnxruntime=">=1.17", opsets={"": 17}, memory_bytes=5_000_000),
        "probe": Probe(min_accuracy=0.9, label_output="y"),
        "trial": Trial(duration_s=60.0, min_requests=10),
        "rebased": Rebased(given_sha256=sha("g"), measure="mean_cosine", distance=0.1, step=0.01),
        "notes": "Retrained on winter images.",
    }
    return Release(**{**given, **changes})


def payload(size_bytes: int = 100_000, chunk_size_bytes: int = 32_768, **changes: Any) -> Payload:
    """Give a payload whose chunk map has as many parts as its size asks for."""
    chunks = -(-size_bytes // chunk_size_bytes)
    parts = -(-chunks // limits.MAP_PART_CHUNKS)
    given: dict[str, Any] = {
        "codec": "full+zstd",
        "sha256": sha("payload"),
        "map_parts": tuple(sha(f"part {i}") for i in range(parts)),
    }
    return Payload(size_bytes=size_bytes, chunk_size_bytes=chunk_size_bytes, **{**given, **changes})


def offer(**changes: Any) -> Offer:
    """Give an offer with a full payload, a delta and two groups."""
    base = Base(sequence=6, version="1.1.0", image_sha256=sha("old"), size_bytes=1000)
    given: dict[str, Any] = {
        "model": "detector",
        "version": "1.2.0",
        "sequence": 7,
        "release_sha256": sha("release"),
        "issued": 1_790_000_100,
        "groups": (
            Group(name="canary", tags={"site": "north"}, ids=("cam-1", "cam-2")),
            Group(name="rest", state="paused", percent=12.5, salt="2026-11"),
        ),
        "payloads": (payload(), payload(5000, 1024, codec="delta+v1", base=base)),
        "deployment": "d-7",
    }
    return Offer(**{**given, **changes})


def notice(**changes: Any) -> Notice:
    """Give a notice; its metadata is not signed, which a notice does not look at."""
    given: dict[str, Any] = {
        "model": "detector",
        "metadata": {"timestamp.json": b"{}", "7.snapshot.json": b"{}", "2.root.json": b"{}"},
        "targets": {"models/detector/1.2.0.release": b"r", "offers/detector.offer": b"o"},
    }
    return Notice(**{**given, **changes})


def map_part(**changes: Any) -> MapPart:
    """Give the map of a payload of four chunks."""
    given: dict[str, Any] = {
        "payload": sha("payload"),
        "part": 0,
        "digests": b"".join(sha(f"chunk {i}") for i in range(4)),
    }
    return MapPart(**{**given, **changes})


def want(**changes: Any) -> Want:
    """Give a want of a map part and two blocks."""
    given: dict[str, Any] = {
        "device": "cam-1",
        "payload": sha("payload"),
        "map_parts": (0,),
        "blocks": (WantedBlock(block=0, missing=0b1010), WantedBlock(block=3, missing=255)),
    }
    return Want(**{**given, **changes})


def model_status(**changes: Any) -> ModelStatus:
    """Give one model in mid-transfer."""
    given: dict[str, Any] = {
        "model": "detector",
        "state": State.DOWNLOADING,
        "reason": "fetching",
        "since": 1_790_000_200,
        "floor": 6,
        "target": Target(version="1.2.0", sequence=7, deployment="d-7", group="canary"),
        "active": SlotStatus(
            slot="a",
            version="1.1.0",
            sequence=6,
            files=(StatusFile(path="model.onnx", size_bytes=1000, sha256=sha("old")),),
        ),
        "progress": Progress(
            payload=sha("payload"), codec="full+zstd", size_bytes=100_000, verified_bytes=32_768
        ),
        "evidence": Evidence(
            sequence=6, checks=(Check(name="loads", passed=True, value=0.5, limit=1.0),)
        ),
    }
    return ModelStatus(**{**given, **changes})


def status(**changes: Any) -> Status:
    """Give the status of a device with one model."""
    given: dict[str, Any] = {
        "device": "cam-1",
        "counter": 41,
        "time": 1_790_000_300,
        "inventory": Inventory(software="0.1.0", machine="aarch64", tags={"site": "north"}),
        "models": (model_status(),),
    }
    return Status(**{**given, **changes})


def metrics(**changes: Any) -> Metrics:
    """Give one summary of one release."""
    latency = Latency(
        p50_s=0.01, p95_s=0.02, p99_s=0.03, max_s=0.1, sum_s=1.2, bounds_s=(0.01,), counts=(50, 50)
    )
    summary = Summary(
        model="detector",
        version="1.2.0",
        sequence=7,
        start=1_790_000_000,
        end=1_790_000_060,
        requests=100,
        latency=latency,
        output_mean=-0.25,
    )
    given: dict[str, Any] = {
        "device": "cam-1",
        "counter": 9,
        "time": 1_790_000_061,
        "summaries": (summary,),
    }
    return Metrics(**{**given, **changes})


def presence(**changes: Any) -> Presence:
    """Give a device's word that it is online."""
    given: dict[str, Any] = {"device": "cam-1", "online": True, "time": 1_790_000_000}
    return Presence(**{**given, **changes})


def renewal(**changes: Any) -> Renewal:
    """Give a device's request for a certificate that ends later."""
    given: dict[str, Any] = {"device": "cam-1", "request": b"request", "certificate": b"held"}
    return Renewal(**{**given, **changes})


def certificate(**changes: Any) -> Certificate:
    """Give the answer to it."""
    given: dict[str, Any] = {
        "device": "cam-1",
        "request": sha("request"),
        "certificate": b"certificate",
    }
    return Certificate(**{**given, **changes})


EXAMPLES: Final[Mapping[type[Message], Message]] = {
    type(message): message
    for message in (
        notice(),
        release(),
        offer(),
        map_part(),
        want(),
        status(),
        metrics(),
        presence(),
        renewal(),
        certificate(),
    )
}

# --- any message ------------------------------------------------------------------------------


@cache
def instances(kind: type[S]) -> st.SearchStrategy[S]:
    """Give a strategy for any valid instance of a message or of a part of one."""
    build: st.SearchStrategy[S] = _strategy(inspect.type_info(kind))
    return build


def _strategy(info: inspect.Type) -> st.SearchStrategy[Any]:
    maker = _MAKERS.get(type(info))
    if maker is None:
        raise NotImplementedError(f"no strategy for {info}; write one in _MAKERS")
    return maker(info)


def _metadata(info: inspect.Metadata) -> st.SearchStrategy[Any]:
    return _strategy(info.type)


def _integer(info: inspect.IntType) -> st.SearchStrategy[int]:
    low = info.ge if info.ge is not None else (None if info.gt is None else info.gt + 1)
    high = info.le if info.le is not None else (None if info.lt is None else info.lt - 1)
    return st.integers(low, high)


def _float(info: inspect.FloatType) -> st.SearchStrategy[float]:
    low, high = (info.ge, info.gt), (info.le, info.lt)
    return st.floats(
        min_value=_first(low),
        max_value=_first(high),
        exclude_min=info.gt is not None,
        exclude_max=info.lt is not None,
        allow_nan=False,
    )


def _first(bounds: tuple[float | None, float | None]) -> float | None:
    return next((bound for bound in bounds if bound is not None), None)


def _text(info: inspect.StrType) -> st.SearchStrategy[str]:
    low, high = info.min_length or 0, info.max_length or 100
    if info.pattern is not None:
        return st.from_regex(info.pattern).filter(lambda text: low <= len(text) <= high)
    letters = st.characters(exclude_categories=["Cs"])
    return st.text(letters, min_size=low, max_size=min(high, low + 20))


def _bytes(info: inspect.BytesType) -> st.SearchStrategy[bytes]:
    low = info.min_length or 0
    return st.binary(min_size=low, max_size=min(info.max_length or 100, low + 40))


def _list(info: inspect.VarTupleType) -> st.SearchStrategy[tuple[Any, ...]]:
    low = info.min_length or 0
    high = max(low, min(info.max_length or SMALL, SMALL))
    return st.lists(_strategy(info.item_type), min_size=low, max_size=high).map(tuple)


def _map(info: inspect.DictType) -> st.SearchStrategy[dict[Any, Any]]:
    low = info.min_length or 0
    high = max(low, min(info.max_length or SMALL, SMALL))
    keys, values = _strategy(info.key_type), _strategy(info.value_type)
    return st.dictionaries(keys, values, min_size=low, max_size=high)


def _struct(info: inspect.StructType) -> st.SearchStrategy[Any]:
    special = _SPECIAL.get(info.cls)
    return special(info) if special else st.builds(info.cls, **_fields(info))


def _fields(info: inspect.StructType) -> dict[str, st.SearchStrategy[Any]]:
    return {field.name: _strategy(field.type) for field in info.fields if field.name != "requires"}


def _any_release(info: inspect.StructType) -> st.SearchStrategy[Release]:
    fields = _fields(info)
    files = st.lists(
        _strategy(inspect.type_info(File)), min_size=1, max_size=SMALL, unique_by=lambda f: f.path
    )

    @st.composite
    def build(draw: st.DrawFn) -> Release:
        # A digit in front makes every path's first part its own, so that none is another's folder.
        chosen = [
            msgspec.structs.replace(file, path=f"{number}{file.path}"[:200].rstrip("/"))
            for number, file in enumerate(draw(files))
        ]
        paths = [file.path for file in chosen]
        values = {name: draw(strategy) for name, strategy in fields.items()}
        total = sum(file.size_bytes for file in chosen)
        if total > limits.IMAGE_MAX_BYTES:
            chosen = [msgspec.structs.replace(f, size_bytes=f.size_bytes // SMALL) for f in chosen]
            total = sum(file.size_bytes for file in chosen)
        samples = draw(st.sampled_from([None, *paths]))
        values |= {
            "files": tuple(chosen),
            "image_size_bytes": total,
            "entry": draw(st.sampled_from(paths)),
            "probe": msgspec.structs.replace(values["probe"], samples=samples),
        }
        return Release(**values)

    return build()


def _any_payload(info: inspect.StructType) -> st.SearchStrategy[Payload]:
    fields = _fields(info)

    @st.composite
    def build(draw: st.DrawFn) -> Payload:
        values = {name: draw(strategy) for name, strategy in fields.items()}
        chunk = values["chunk_size_bytes"]
        parts = len(values["map_parts"])
        per_part = chunk * limits.MAP_PART_CHUNKS
        size = draw(st.integers((parts - 1) * per_part + 1, parts * per_part))
        cut = draw(st.integers(0, size))
        values |= {"size_bytes": size, "frames": draw(st.sampled_from([(), (cut, size - cut)]))}
        return Payload(**values)

    return build()


def _any_map_part(info: inspect.StructType) -> st.SearchStrategy[MapPart]:
    fields = _fields(info)
    digest = st.binary(min_size=32, max_size=32)
    digests = st.lists(digest, min_size=1, max_size=SMALL).map(b"".join)
    return st.builds(MapPart, **{**fields, "digests": digests})


_Maker = Callable[[Any], st.SearchStrategy[Any]]
_SPECIAL: Final[Mapping[type, _Maker]] = {
    Release: _any_release,
    Payload: _any_payload,
    MapPart: _any_map_part,
}
_MAKERS: Final[Mapping[type, _Maker]] = {
    inspect.Metadata: _metadata,
    inspect.IntType: _integer,
    inspect.FloatType: _float,
    inspect.StrType: _text,
    inspect.BytesType: _bytes,
    inspect.BoolType: lambda _: st.booleans(),
    inspect.NoneType: lambda _: st.none(),
    inspect.LiteralType: lambda info: st.sampled_from(info.values),
    inspect.EnumType: lambda info: st.sampled_from(list(info.cls)),
    inspect.UnionType: lambda info: st.one_of([_strategy(kind) for kind in info.types]),
    inspect.VarTupleType: _list,
    inspect.DictType: _map,
    inspect.StructType: _struct,
}
