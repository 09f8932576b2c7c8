"""A fixed part of onnx's own node tests, released and probed; `make zoo ARGS=nodes` takes them all.

One of every kind of value that a model can take: numbers of each type, scalars, nothing, text,
sequences, optionals, and shapes with a zero in them.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.old_packages import NEEDS_ONNX_OF_TODAY
from tests.zoo.forked import forked_children
from tests.zoo.node_cases import NodeCase, load_cases
from tests.zoo.nodes import read_reasons, try_case

pytestmark = NEEDS_ONNX_OF_TODAY

TRIED = (
    "test_add",
    "test_add_uint64",
    "test_and3d",
    "test_batchnorm_example",
    "test_castlike_FLOAT16_to_FLOAT",
    "test_clip_default_int8_min",
    "test_constantofshape_int_shape_zero",
    "test_cumsum_1d",
    "test_identity_opt",
    "test_identity_sequence",
    "test_isinf_float16",
    "test_loop11",
    "test_gemm_default_scalar_bias",
    "test_scan9_scalar",
    "test_reduce_sum_empty_set",
    "test_sequence_insert_at_front",
    "test_split_to_sequence_1",
    "test_string_concat",
    "test_tfidfvectorizer_tf_only_bigrams_skip0",
)


@pytest.fixture(scope="module")
def cases() -> dict[str, NodeCase]:
    return {case.name: case for case in load_cases()}


@pytest.mark.parametrize("name", TRIED)
def test_what_onnx_says_is_right_is_released_and_accepted(
    name: str, cases: dict[str, NodeCase], tmp_path: Path
) -> None:
    with forked_children():
        result = try_case(cases[name], tmp_path)

    assert (result.outcome, result.said) == ("accepted", "")


def test_the_list_of_what_is_refused_is_of_tests_that_there_are(
    cases: dict[str, NodeCase],
) -> None:
    for reason in read_reasons():
        assert any(reason.names(name) for name in cases), reason.tests
