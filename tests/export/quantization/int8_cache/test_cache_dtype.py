from __future__ import annotations

import pytest

from edgepipe.errors import InputError
from edgepipe_export.quantization.int8_cache.cache_dtype import check_cache_dtype, has_int8_cache
from edgepipe_export.quantization.target import Target

VNNI = Target("vnni")


def test_variants_whose_attention_stays_can_have_it() -> None:
    assert check_cache_dtype("int8", ("fp32", "w8", "q4"), VNNI) == "int8"
    assert check_cache_dtype("fp32", ("fp16",), Target("cuda")) == "fp32"
    assert has_int8_cache("w8")
    assert not has_int8_cache("fp32")


@pytest.mark.parametrize(
    ("cache_dtype", "dtypes", "target", "message"),
    [
        ("fp8", ("w8",), "vnni", "must be fp32 or int8, got 'fp8'"),
        ("int8", ("w8",), "cuda", "the target is cuda"),
        ("int8", ("w8",), "openvino", "the target is openvino"),
        ("int8", ("w8", "fp16"), "vnni", "fp16 cannot have"),
        ("int8", ("fp32",), "vnni", "name one of int8, int8-rows, w8, w8-rows, q4, q4-rows too"),
        ("int8", (), "vnni", "is for quantized variants"),
    ],
    ids=["unknown", "cuda", "openvino", "half", "exact", "chosen"],
)
def test_others_are_refused(cache_dtype: str, dtypes: tuple[str, ...], target: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_cache_dtype(cache_dtype, dtypes, Target(target))
