"""Writes the frozen payloads of this folder: `python -m tests.assets.delta.make`.

It is not run by the tests. A decoder must give `image.bin` from `base.bin` and `v1.delta` for ever,
and so with each other payload: devices hold decoders of the format as it was, and brokers payloads.
`weights` and `records` were made by the encoder of ab3aaaf. Run it again only for a new format,
with a new name.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slotcast_publisher.delta.compact import write_compact
from slotcast_publisher.delta.encode import encode_delta
from slotcast_publisher.release.weights_payload import encode_weights_payload
from tests.support.deltas import bytes_of, model_bytes, write_image
from tests.support.model_files import gguf_bytes
from tests.support.trees import draw_tree, tree_model
from tests.support.weights import KINDS, trained

HERE = Path(__file__).parent


def main() -> None:
    """Small tensors with every predictor but the decay map, and text."""
    rng = np.random.default_rng(2026)
    old: dict[str, NDArray[Any]] = {
        "moved": (rng.standard_normal((40, 24)) * 0.05).astype(np.float32),
        "half": (rng.standard_normal((20, 24)) * 0.05).astype(np.float16),
        "low": (rng.standard_normal((70, 66)) * 0.05).astype(np.float32),
        "turned": (rng.standard_normal((20, 12)) * 0.05).astype(np.float32),
        "q": rng.integers(-9, 9, (40, 30)).astype(np.int8),
    }
    thin = np.outer(rng.random(70), rng.random(66)) * 1e-3
    new: dict[str, NDArray[Any]] = {
        "moved": (old["moved"] + rng.standard_normal((40, 24)) * 1e-4).astype(np.float32),
        "half": (old["half"] + rng.standard_normal((20, 24)) * 1e-3).astype(np.float16),
        "low": (old["low"] + thin).astype(np.float32),
        "turned": np.ascontiguousarray(old["turned"].T),
        "q": old["q"] + (rng.random((40, 30)) < 0.1).astype(np.int8),
    }
    text = "".join(f"word{index}\n" for index in range(200))
    base = write_image(HERE / "build/old", m__onnx=model_bytes(old), v__txt=text.encode())
    edited = text.replace("word7", "wOrd7").encode()
    target = write_image(HERE / "build/new", m__onnx=model_bytes(new), v__txt=edited)
    encode_delta(base, target, HERE / "v1.delta")
    (HERE / "base.bin").write_bytes(bytes_of(base))
    (HERE / "image.bin").write_bytes(bytes_of(target))


def make_lines() -> None:
    """Write tensors whose rows and columns moved, some of them trained: bit 2 of the features."""
    rng = np.random.default_rng(2027)
    old = {
        name: (rng.standard_normal((60, 64)) * 0.05).astype(np.float32)
        for name in ("rows", "columns", "both", "turned", "trained")
    }
    by_row, by_column = rng.permutation(60), rng.permutation(64)
    moved = old["trained"] + rng.standard_normal((60, 64)) * 1e-4
    new = {
        "rows": np.insert(old["rows"][by_row], 9, rng.random(64), axis=0),
        "columns": np.insert(old["columns"][:, by_column], 5, rng.random(60), axis=1),
        "both": old["both"][by_row][:, by_column],
        "turned": old["turned"][by_row].T,
        "trained": moved.astype(np.float32)[:, by_column],
    }
    base = write_image(HERE / "build/old", m__onnx=model_bytes(old))
    target = write_image(HERE / "build/new", m__onnx=model_bytes(new))
    encode_delta(base, target, HERE / "lines.delta")
    (HERE / "lines.base").write_bytes(bytes_of(base))
    (HERE / "lines.image").write_bytes(bytes_of(target))


def make_weights() -> None:
    """Write a whole image that knows floats, and a delta that packs new weights so: bit 0."""
    names = ("int8 in float32, by row", "int4 in float32, by group", "bfloat16 in float32")
    kinds = {name: KINDS[name][1](trained(40, 128)) for name in names}
    model = model_bytes({"w": trained(80, 256), **kinds})
    image = write_image(HERE / "build/new", m__onnx=model, names__txt=b"label\n" * 99)
    encode_weights_payload(image, HERE / "weights.full")
    base = write_image(HERE / "build/old", names__txt=b"label\n" * 98)
    encode_delta(base, image, HERE / "weights.delta")
    (HERE / "weights.base").write_bytes(bytes_of(base))
    (HERE / "weights.image").write_bytes(bytes_of(image))


def make_records() -> None:
    """Write quantised blocks of which both images are in field order: bit 1."""
    old = {"embed": trained(48, 128), "up": trained(64, 64, seed=2)}
    rng = np.random.default_rng(2028)
    new = {
        name: (each + rng.standard_normal(each.shape) * 1e-3).astype(np.float32)
        for name, each in old.items()
    }
    base = write_image(HERE / "build/old", m__gguf=gguf_bytes({}, old))
    image = write_image(HERE / "build/new", m__gguf=gguf_bytes({}, new))
    encode_delta(base, image, HERE / "records.delta")
    (HERE / "records.base").write_bytes(bytes_of(base))
    (HERE / "records.image").write_bytes(bytes_of(image))


def make_compact() -> None:
    """Write a compact delta: rows, columns and tensors that moved, text that was edited."""
    rng = np.random.default_rng(2029)
    old = {
        name: (rng.standard_normal((60, 64)) * 0.05).astype(np.float32)
        for name in ("rows", "columns", "turned", "last")
    }
    swapped = np.arange(60)
    swapped[[7, 50]] = 50, 7
    new = {
        "turned": old["turned"].T,
        "columns": old["columns"][:, rng.permutation(64)],
        "rows": old["rows"][swapped],
        "last": old["last"],
    }
    text = "".join(f"word{index}\n" for index in range(200))
    base = write_image(HERE / "build/old", m__onnx=model_bytes(old), v__txt=text.encode())
    edited = text.replace("word7", "wOrd7").encode()
    target = write_image(HERE / "build/new", m__onnx=model_bytes(new), v__txt=edited)
    _keep_compact("compact", base, target)


def make_dictionary() -> None:
    """Write a compact delta whose script is packed with the base: trees, and one more."""
    rng = np.random.default_rng(2030)
    trees = [draw_tree(rng, 12) for _ in range(21)]
    base = write_image(HERE / "build/old", trees__onnx=tree_model(trees[:20]))
    target = write_image(HERE / "build/new", trees__onnx=tree_model(trees))
    _keep_compact("dictionary", base, target)


def _keep_compact(name: str, base: list[tuple[str, Path]], target: list[tuple[str, Path]]) -> None:
    """Write a compact delta beside its base and the image that it makes."""
    long = HERE / "build/long.delta"
    encode_delta(base, target, long)
    if write_compact(long, base, target, HERE / f"{name}.delta") is None:
        raise SystemExit("expected a compact delta, got none")
    (HERE / f"{name}.base").write_bytes(bytes_of(base))
    (HERE / f"{name}.image").write_bytes(bytes_of(target))


if __name__ == "__main__":
    main()
    make_lines()
    make_weights()
    make_records()
    make_compact()
    make_dictionary()
