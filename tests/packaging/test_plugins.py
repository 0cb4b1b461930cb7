"""Bundles on real plug-ins of onnxruntime's, in an environment with their packages, as far as they go here."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from edgepipe_export import export
from tests.golden.compare import assert_same
from tests.interop.environments import make
from tests.packaging.conftest import REPOSITORY, checked
from tests.tiny import build
from tests.tiny.generative import build_generative

pytestmark = pytest.mark.environments

# Kept for the next run; the wheel is installed anew each time.
FOLDER = REPOSITORY / "tests" / "packaging" / ".venv-plugins"
PACKAGES = ("onnxruntime-ep-webgpu==0.4.0", "onnxruntime-ep-openvino==1.8.1")
# They ask for older versions of onnxruntime, or for much that they do not need to be loaded.
ALONE = ("onnxruntime-ggml==0.2.0", "onnxruntime-qnn==2.7.0")
# What Vulkan's loader reads: the driver that computes on the processor. SwiftShader is in Debian's chromium-common.
DRIVER = os.environ.get("VK_DRIVER_FILES", "")
SOFTWARE = {"ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER": "1", "ORT_GGML_LOG": "error"}
needs_vulkan = pytest.mark.skipif(not DRIVER, reason="VK_DRIVER_FILES names no driver of Vulkan's for the processor")
TEXTS = ["a b c", "I loved every minute of it", "so dull that I left"]
PROGRAM = """
import json, sys
from edgepipe import pipeline
folder, device, texts = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
task = pipeline(model=folder, device=device, dtype="fp32")
options = {"max_new_tokens": 8, "do_sample": False} if task.generates else {"top_k": None}
print(json.dumps([[task(text, **options) for text in texts], task.model.session.placement]))
"""


@pytest.fixture(scope="module")
def commands(wheel: Path) -> Path:
    """The folder of commands of an environment with the wheel and the plug-ins."""
    python = make(FOLDER, list(PACKAGES))
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    checked([*pip, "-c", REPOSITORY / "constraints.txt", f"{wheel}[cpu]"])
    checked([*pip, "--no-deps", *ALONE])
    checked([*pip, "--force-reinstall", "--no-deps", wheel])
    return python.parent


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    build("bert", directory=folder / "checkpoint", labels=("bad", "fair", "good"))
    export(folder / "checkpoint", folder / "bundle", dtypes="fp32,int8", force=True)
    return folder / "bundle"


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("decoder")
    build_generative("llama", directory=folder / "checkpoint")
    export(folder / "checkpoint", folder / "bundle", dtypes="fp32", force=True)
    return folder / "bundle"


def run(commands: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A command of edgepipe's."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")} | SOFTWARE
    return subprocess.run(
        [commands / "edgepipe", *arguments], capture_output=True, text=True, check=False, env=env, timeout=300
    )


def ask(commands: Path, bundle: Path, device: str) -> Any:
    """Results for the texts, and which provider runs how many operators of each kind."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")} | SOFTWARE
    said = checked([commands / "python", "-c", PROGRAM, bundle, device, json.dumps(TEXTS)], env=env)
    return json.loads(said.splitlines()[-1])


def test_the_environment_lists_the_plugins(commands: Path) -> None:
    found = json.loads(run(commands, "env", "--json").stdout)["engines"]["onnxruntime"]["plugins"]
    assert set(found) == {"ggml", "openvino-ep", "qnn", "webgpu"}
    assert found["ggml"] == ["ggml:CPU"]
    assert "webgpu" in run(commands, "env").stdout


def test_a_plugin_without_its_hardware_says_so(commands: Path, bundle: Path) -> None:
    found = json.loads(run(commands, "env", "--json").stdout)["engines"]["onnxruntime"]["plugins"]
    if found["openvino-ep"]:
        pytest.skip("onnxruntime-ep-openvino finds a device here")
    done = run(commands, "run", bundle, TEXTS[0], "--device", "openvino-ep")
    assert done.returncode == 1
    assert "onnxruntime-ep-openvino 1.8.1 is installed, and finds nothing on this machine" in done.stderr


def test_a_plugin_that_runs_none_of_the_graph_is_an_error(commands: Path, bundle: Path) -> None:
    """ggml 0.2.0 takes whole graphs alone and lacks Gelu; onnxruntime would run all of it on the processor."""
    for device in ("ggml", "ggml:CPU", "ggml,cpu"):
        done = run(commands, "run", bundle, TEXTS[0], "--device", device, "--dtype", "fp32")
        assert done.returncode == 1
        assert "ggml runs none of the" in done.stderr


def test_a_plugin_that_lists_a_device_and_cannot_start(commands: Path, bundle: Path) -> None:
    found = json.loads(run(commands, "env", "--json").stdout)["engines"]["onnxruntime"]["plugins"]
    if found["qnn"] != ["qnn:CPU"]:
        pytest.skip("onnxruntime-qnn finds other devices here")
    done = run(commands, "run", bundle, TEXTS[0], "--device", "qnn", "--dtype", "fp32")
    assert done.returncode == 1
    assert "could not start QNNExecutionProvider: Could not determine default backend path" in done.stderr


@needs_vulkan
@pytest.mark.parametrize("device", ["webgpu", "webgpu:CPU", "webgpu,cpu"])
def test_an_encoder_on_webgpu(commands: Path, bundle: Path, device: str) -> None:
    results, placement = ask(commands, bundle, device)
    expected, _ = ask(commands, bundle, "cpu")
    assert placement["WebGpuExecutionProvider"]["MatMul"]
    assert_same(results, expected)


@needs_vulkan
def test_a_decoder_on_webgpu_writes_the_same_tokens(commands: Path, decoder: Path) -> None:
    results, placement = ask(commands, decoder, "webgpu")
    assert placement["WebGpuExecutionProvider"]["GroupQueryAttention"]
    assert results == ask(commands, decoder, "cpu")[0]


@needs_vulkan
def test_what_webgpu_leaves_to_the_processor_is_an_error_unless_allowed(commands: Path, bundle: Path) -> None:
    found = json.loads(run(commands, "check", bundle, "--device", "webgpu", "--json").stdout)
    assert found["passed"]
    by_name = {each["dtype"]: each for each in found["variants"]}
    assert by_name["fp32"]["passed"]
    assert by_name["int8"]["passed"] is None
    assert "to the processor (MatMulInteger" in by_name["int8"]["cause"]
    assert "fp32 can run there" in by_name["int8"]["cause"]
    found = json.loads(run(commands, "check", bundle, "--device", "webgpu,cpu", "--json").stdout)
    by_name = {each["dtype"]: each for each in found["variants"]}
    assert by_name["int8"]["passed"]
    assert by_name["int8"]["placement"]["CPUExecutionProvider"]["MatMulInteger"]
    shown = run(commands, "info", bundle, "--device", "webgpu").stdout
    assert "WebGpuExecutionProvider" in shown
