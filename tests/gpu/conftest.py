"""Where the tests of this folder run: on a GPU, or nowhere, with the reason said.

``EDGEPIPE_TEST_DEVICE=cpu`` runs what can be run on the processor, to try the tests themselves.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from edgepipe.backend.engines import create_session
from edgepipe.backend.session import SessionConfig
from edgepipe.errors import EdgepipeError
from edgepipe_export import export
from tests.conftest import Exported
from tests.runtime.small_bundle import write_graph
from tests.tiny.generative import build_generative

DEVICE = os.environ.get("EDGEPIPE_TEST_DEVICE", "cuda")


@pytest.fixture(scope="session", autouse=True)
def usable(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Skips every test where the device cannot be used; the reason is what a user would be told."""
    graph = tmp_path_factory.mktemp("device") / "model.onnx"
    write_graph(graph)
    try:
        create_session(graph, SessionConfig(device=DEVICE))
    except EdgepipeError as error:
        pytest.skip(f"no GPU: {error}")


@pytest.fixture(scope="session")
def device() -> str:
    return DEVICE


@pytest.fixture(scope="session")
def cuda() -> str:
    """The device, for tests of what only CUDA has."""
    if DEVICE == "cpu":
        pytest.skip("EDGEPIPE_TEST_DEVICE is cpu: this is about CUDA's own")
    return DEVICE


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Exported]:
    """``written(family, target, task=None)``: a tiny model that writes and its fp32 bundle, each made once."""
    made: dict[tuple[str, str, str | None], Exported] = {}

    def make(family: str, target: str = "this", task: str | None = None) -> Exported:
        key = (family, target, task)
        if key not in made:
            model, tokenizer = build_generative(family)
            output = tmp_path_factory.mktemp("written") / family
            bundle = export(model, output, tokenizer=tokenizer, task=task, target=target, verify=False, progress=False)
            made[key] = Exported(model, tokenizer, bundle)
        return made[key]

    return make
