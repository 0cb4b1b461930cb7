"""How OpenVINO is imported: when it is asked for, and without word to its maker."""

from __future__ import annotations

from pathlib import Path

from tests.runtime.processes import run_python
from tests.runtime.small_bundle import LABELS, write_bundle


def test_it_is_not_imported_unasked(tmp_path: Path) -> None:
    program = """
        import sys
        from edgepipe import pipeline
        pipeline("text-classification", sys.argv[1])("I love this")
        print([name for name in sys.modules if name.partition(".")[0] in ("openvino", "openvino_telemetry")])
    """
    assert run_python(program, str(write_bundle(tmp_path / "bundle"))).strip() == "[]"


def test_it_runs_without_onnxruntime_and_without_telemetry(tmp_path: Path) -> None:
    program = """
        import sys
        from edgepipe import pipeline
        classify = pipeline("text-classification", sys.argv[1], device="openvino")
        print(classify("I love this")[0]["label"], "openvino_telemetry" in sys.modules)
    """
    found = run_python(program, str(write_bundle(tmp_path / "bundle")), blocked=("onnxruntime",)).split()
    assert (found[0] in LABELS, found[1]) == (True, "False")


def test_it_is_asked_for_and_not_there(tmp_path: Path) -> None:
    program = """
        import sys
        from edgepipe import pipeline
        from edgepipe.errors import DependencyError
        try:
            pipeline("text-classification", sys.argv[1], device="openvino")
        except DependencyError as error:
            print(error)
    """
    found = run_python(program, str(write_bundle(tmp_path / "bundle")), blocked=("openvino",))
    assert found.startswith("openvino cannot be imported (")
    assert found.strip().endswith("pip install 'edgepipe[openvino]'")


def test_what_the_import_leaves_out_is_there_for_others(tmp_path: Path) -> None:
    program = """
        import sys
        from edgepipe import pipeline
        pipeline("text-classification", sys.argv[1], device="openvino")("I love this")
        before = "openvino.tools.ovc" in sys.modules
        import openvino
        print(before, callable(openvino.convert_model), hasattr(openvino, "no_such_name"))
    """
    assert run_python(program, str(write_bundle(tmp_path / "bundle"))).split() == ["False", "True", "False"]
