"""Who may import whom."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.architecture.sources import Import, imports
from tests.runtime.processes import run_python
from tests.runtime.small_bundle import LABELS, write_bundle

# What onnxruntime and tokenizers bring, and numpy.
RUNTIME_MAY_USE = {"edgepipe", "edgepipe_models", "edgepipe_export", "numpy", "onnxruntime", "tokenizers"} | {
    "huggingface_hub",
    "click",
    "tqdm",
    "jinja2",
    "pyarrow",
    "openvino",
    "model_signing",
}
# What rooms may use beside that, of extras of their own.
ROOMS_MAY_USE = {
    "generation": {"llguidance"},
    "serve": {"starlette", "uvicorn", "msgspec", "prometheus_client", "opentelemetry"},
    "mapping": {"fsspec"},
    "ray": {"ray", "starlette"},
}
HEAVY = ("torch", "transformers", "optimum", "onnx", "onnxscript", "onnx_ir", "safetensors", "sentencepiece", "scipy")


def listed(found: list[Import]) -> str:
    return "\n".join(map(str, found))


def test_every_runtime_module_imports_without_the_exporter_s_packages() -> None:
    program = """
        import importlib, pkgutil
        import edgepipe
        names = [module.name for module in pkgutil.walk_packages(edgepipe.__path__, "edgepipe.")]
        names.remove("edgepipe.__main__")
        for name in names:
            importlib.import_module(name)
        print(len(names))
    """
    assert int(run_python(program, blocked=(*HEAVY, "edgepipe_export"))) > 10


def test_a_pipeline_runs_without_the_exporter_s_packages(tmp_path: Path) -> None:
    program = """
        import sys
        from edgepipe import pipeline
        print(pipeline("text-classification", sys.argv[1])("I love this")[0]["label"])
    """
    assert run_python(program, str(write_bundle(tmp_path / "bundle")), blocked=HEAVY).strip() in LABELS


def test_importing_edgepipe_is_cheap() -> None:
    program = """
        import sys
        import edgepipe
        print(*{name.partition(".")[0] for name in sys.modules})
    """
    assert not {"numpy", "onnxruntime", "tokenizers", "click"} & set(run_python(program).split())


def test_a_pipeline_imports_no_other_engine_and_nothing_that_tells_of_faults(tmp_path: Path) -> None:
    program = """
        import sys
        from edgepipe import pipeline
        pipeline("text-classification", sys.argv[1])("I love this")
        print(*sys.modules)
    """
    loaded = run_python(program, str(write_bundle(tmp_path / "bundle"))).split()
    idle = ("openvino", "cuda_diagnostics", "installation", "ort_operators")
    assert "edgepipe.backend.onnxruntime.inference_session" in loaded
    assert not [name for name in loaded if name.startswith("edgepipe.backend") and name.rpartition(".")[2] in idle]


# Modules that a start loads, numpy's and the standard library's among them; those of an installation that reads locales
# and the like may be a few more. It counts modules since time depends on the machine.
MOST_MODULES = 330
# What takes milliseconds, and a bundle from a directory does not need.
NOT_AT_A_START = {
    "huggingface_hub",
    "asyncio",
    "http",
    "ssl",
    "socket",
    "email",
    "shutil",
    "tempfile",
    "subprocess",
} | {
    "logging",
    "tomllib",
    "click",
    "tqdm",
    "jinja2",
    "packaging",
    "google",
    "flatbuffers",
}


def test_a_start_imports_few_modules_and_no_client_of_the_hub(tmp_path: Path) -> None:
    program = """
        import sys
        before = set(sys.modules)
        from edgepipe import pipeline
        pipeline("text-classification", sys.argv[1])("I love this")
        print(*(set(sys.modules) - before))
    """
    loaded = set(run_python(program, str(write_bundle(tmp_path / "bundle"))).split())
    assert not {name.partition(".")[0] for name in loaded} & NOT_AT_A_START
    assert "edgepipe.backend.onnxruntime.graphs.packed_weights" not in loaded
    assert len(loaded) < MOST_MODULES


@pytest.mark.parametrize("package", ["edgepipe_export", "edgepipe_models"])
def test_importing_the_other_packages_is_cheap(package: str) -> None:
    program = f"""
        import sys
        import {package}
        print(*{{name.partition(".")[0] for name in sys.modules}})
    """
    assert not {*HEAVY, "onnxruntime"} & set(run_python(program).split())


@pytest.mark.parametrize(("engine", "module"), [("onnxruntime", "ort_module"), ("openvino", "ov_module")])
def test_only_one_file_imports_an_engine(engine: str, module: str) -> None:
    users = {entry.file for entry in imports("edgepipe") if entry.package == engine}
    assert users == {f"runtime/edgepipe/backend/{engine}/{module}.py"}


def test_the_runtime_uses_only_what_its_wheel_requires() -> None:
    foreign = [
        entry
        for entry in imports("edgepipe")
        if entry.package not in sys.stdlib_module_names
        and entry.package not in RUNTIME_MAY_USE
        and entry.package not in ROOMS_MAY_USE.get(Path(entry.file).parts[2], ())
    ]
    assert not foreign, listed(foreign)


def test_the_runtime_reaches_the_exporter_only_from_the_command_line() -> None:
    wrong = [
        entry
        for entry in imports("edgepipe")
        if entry.package == "edgepipe_export" and not (entry.file.startswith("runtime/edgepipe/cli/") and entry.lazy)
    ]
    assert not wrong, listed(wrong)


def test_the_runtime_reaches_the_data_only_when_asked() -> None:
    wrong = [entry for entry in imports("edgepipe") if entry.package == "edgepipe_models" and not entry.lazy]
    assert not wrong, listed(wrong)


def test_the_data_imports_nothing_but_the_standard_library() -> None:
    wrong = [
        entry
        for entry in imports("edgepipe_models")
        if entry.package not in sys.stdlib_module_names and entry.package != "edgepipe_models"
    ]
    assert not wrong, listed(wrong)


def test_the_exporter_does_not_reach_into_the_command_line_or_the_data() -> None:
    wrong = [
        entry
        for entry in imports("edgepipe_export")
        if entry.package == "edgepipe_models" or entry.module.startswith("edgepipe.cli")
    ]
    assert not wrong, listed(wrong)
