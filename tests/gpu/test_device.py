"""What CUDA alone has: its memory, its provider's options, its absence."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import pytest

from edgepipe import Model, pipeline
from edgepipe.backend.session import Provider, SessionConfig
from edgepipe.errors import DeviceError, InputError, OutOfMemoryError
from edgepipe_export import export
from tests.conftest import Exported
from tests.gpu.driver import free_bytes, new_stream
from tests.tiny import LIMIT
from tests.tiny.parity import feeds_for

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("cuda")]

CUDA = "CUDAExecutionProvider"


def model_with(made: Exported, **options: object) -> Model:
    providers: list[Provider] = [(CUDA, options), "CPUExecutionProvider"]
    return Model(made.bundle, "fp32", SessionConfig(providers=providers))


def test_tf32_is_off_unless_asked_for(tiny_export: Callable[..., Exported]) -> None:
    made = tiny_export("bert")
    for model, expected in (
        (Model(made.bundle, "fp32", SessionConfig(device="cuda")), "0"),
        (Model(made.bundle, "fp32", SessionConfig(providers=[CUDA])), "0"),
        (model_with(made, use_tf32=1), "1"),
    ):
        assert model.session._session.get_provider_options()[CUDA]["use_tf32"] == expected


def test_options_are_passed_on(tiny_export: Callable[..., Exported]) -> None:
    made = tiny_export("bert")
    stream = new_stream()
    wanted = {"gpu_mem_limit": 2**30, "arena_extend_strategy": "kSameAsRequested", "user_compute_stream": str(stream)}
    model = model_with(made, **wanted)
    in_use = model.session._session.get_provider_options()[CUDA]
    assert {name: in_use[name] for name in wanted} == {name: str(value) for name, value in wanted.items()}
    feeds = feeds_for(made.model, made.tokenizer, 2, 9)
    expected = Model(made.bundle, "fp32", SessionConfig(device="cuda"))(**feeds)["logits"]
    np.testing.assert_allclose(model(**feeds)["logits"], expected, atol=1e-5)


def test_a_value_that_onnxruntime_cannot_read(tiny_export: Callable[..., Exported]) -> None:
    with pytest.raises(InputError, match="cannot use the provider option 'gpu_mem_limit'"):
        model_with(tiny_export("bert"), gpu_mem_limit="plenty")


def test_a_gpu_that_is_not_there(tiny_export: Callable[..., Exported]) -> None:
    with pytest.raises(DeviceError, match="there is no GPU 999, but "):
        pipeline(model=tiny_export("bert").bundle, dtype="fp32", device="cuda:999")


def test_too_little_memory_for_the_graph(tiny_export: Callable[..., Exported]) -> None:
    with pytest.raises(OutOfMemoryError, match="cannot be loaded: memory ran out"):
        model_with(tiny_export("bert"), gpu_mem_limit=1024)


def test_too_little_memory_for_a_batch(tiny_export: Callable[..., Exported]) -> None:
    made = tiny_export("bert")
    model = model_with(made, gpu_mem_limit=2**25, arena_extend_strategy="kSameAsRequested")
    small, large = (feeds_for(made.model, made.tokenizer, batch, LIMIT) for batch in (1, 20_000))
    before = model(**small)["logits"]
    with pytest.raises(OutOfMemoryError, match="memory ran out"):
        model(**large)
    np.testing.assert_array_equal(model(**small)["logits"], before)  # it goes on after that


def test_memory_is_flat_over_varying_shapes(tiny_export: Callable[..., Exported]) -> None:
    made = tiny_export("bert")
    model = Model(made.bundle, "fp32", SessionConfig(device="cuda"))
    shapes = np.random.default_rng(0).integers(1, (33, LIMIT + 1), (600, 2))
    feeds = [feeds_for(made.model, made.tokenizer, int(batch), int(length)) for batch, length in shapes]
    for each in feeds[:100]:
        model(**each)
    before = free_bytes()
    for each in feeds[100:]:
        model(**each)
    assert before - free_bytes() <= 32 * 2**20


def test_memory_is_flat_while_writing(written: Callable[..., Exported]) -> None:
    write = pipeline("text-generation", written("gpt2").bundle, dtype="fp32", device="cuda")
    lengths = np.random.default_rng(0).integers(1, 30, 300)
    before = 0
    for number, length in enumerate(lengths):
        write("a " * int(length), max_new_tokens=int(31 - length), do_sample=False)
        if number == 100:
            before = free_bytes()
    assert before - free_bytes() <= 32 * 2**20


def test_int8_is_refused(tiny_export: Callable[..., Exported]) -> None:
    made = tiny_export("bert")
    bundle = export(
        made.model,
        made.bundle.path.parent / "int8",
        tokenizer=made.tokenizer,
        dtypes=("fp32", "int8"),
        verify=False,
        progress=False,
    )
    with pytest.raises(DeviceError, match=r"no CUDA kernels for int8, .*take dtype='fp32'"):
        pipeline(model=bundle, device="cuda", dtype="int8")


def test_every_node_of_a_bundle_for_gpus_runs_on_the_gpu(written: Callable[..., Exported]) -> None:
    made = written("gpt2", "cuda")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # that attention runs on the processor would be said
        pipeline("text-generation", made.bundle, device="cuda")("a", max_new_tokens=4)
