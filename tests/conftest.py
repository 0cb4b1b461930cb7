"""What several test packages share: tiny models and the bundles exported from them, each made once a session."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.shared_traces import share_traces, trace_afresh
from tests.slowest import SlowestTests

if TYPE_CHECKING:
    from edgepipe import Bundle

# No test may reach a hub; those that test the download set an endpoint of their own on the loopback interface.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
# Nor may one export know what another measured; those that test that set a folder of their own.
os.environ["EDGEPIPE_CACHE"] = ""

REPOSITORY = Path(__file__).parents[1]
# Real checkpoints and data; they lie beside the repository unless the environment says where.
SHARED = Path(os.environ.get("EDGEPIPE_SHARED", REPOSITORY.parent / "shared"))


def shared(*parts: str) -> Path:
    """A file of :data:`SHARED`. The product does not need it: without it, whoever asks is skipped."""
    path = SHARED.joinpath(*parts)
    if not path.is_file():
        pytest.skip(f"{'/'.join(parts)} is not there: set EDGEPIPE_SHARED to the directory with checkpoints and data")
    return path


@dataclass(frozen=True)
class Exported:
    """A tiny model and what the exporter made of it.

    Attributes:
        model: The transformers model.
        tokenizer: The transformers tokenizer.
        bundle: Its export.
    """

    model: Any
    tokenizer: Any
    bundle: Bundle


@pytest.fixture(scope="session", autouse=True)
def _shared_traces() -> Iterator[None]:
    """Exports of the same model share their trace; see :mod:`tests.shared_traces`."""
    with share_traces():
        yield


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    """A fixture that lives longer than a test must not change what the tests of other packages find."""
    assert os.environ["EDGEPIPE_CACHE"] == "", "a fixture of another package has set EDGEPIPE_CACHE and left it"


@pytest.fixture
def fresh_trace() -> Iterator[None]:
    """The exports of this test trace their model themselves."""
    with trace_afresh():
        yield


@pytest.fixture(scope="session")
def tiny_export(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Exported]:
    """``tiny_export(architecture, **build_arguments)``: an fp32 bundle, without verification (the tests verify)."""
    from edgepipe_export import export
    from tests.tiny import build

    made: dict[str, Exported] = {}

    def make(architecture: str, **arguments: Any) -> Exported:
        key = f"{architecture} {sorted(arguments.items())}"
        if key not in made:
            model, tokenizer = build(architecture, **arguments)
            output = tmp_path_factory.mktemp("exported") / architecture
            made[key] = Exported(model, tokenizer, export(model, output, tokenizer=tokenizer, verify=False))
        return made[key]

    return make


@pytest.fixture(scope="session")
def minilm_sst2() -> Path:
    """A real fine-tuned checkpoint; it lies outside of the repository, and is not needed."""
    return shared("checkpoints", "minilm-sst2", "model.safetensors").parent


@pytest.fixture(scope="session")
def minilm_sst2_bundle(minilm_sst2: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Its export, fp32 and int8, verified; not to be changed."""
    from edgepipe_export import export

    return export(minilm_sst2, tmp_path_factory.mktemp("real") / "minilm-sst2", dtypes=("fp32", "int8"), max_drop=5)


def pytest_configure(config: pytest.Config) -> None:
    """Report the slowest tests at the end of every run, and look through all objects less often.

    Tracing makes so many objects that the garbage collector would go through torch's and all others again and again.
    """
    config.pluginmanager.register(SlowestTests())
    gc.set_threshold(700, 10, 100)
