"""A bundle that is too large for the memory there is says so before it is loaded."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from edgepipe import Bundle, pipeline
from edgepipe.backend.machine import MemoryBound
from edgepipe.backend.session import SessionConfig
from edgepipe.errors import OutOfMemoryError
from edgepipe.models import memory_check
from tests.runtime.processes import run_python
from tests.runtime.wide_bundle import write_wide

WIDE = 200
MEGABYTE = 1_000_000

# Loads with so many bytes of addresses beside those that the imports took.
LIMITED = """
import json, resource, sys
import onnxruntime, tokenizers, numpy
from edgepipe import EdgepipeError, pipeline
path, room, limit, options = json.loads(sys.argv[1])
used = {"RLIMIT_AS": "VmSize", "RLIMIT_DATA": "VmData"}[limit]
with open("/proc/self/status") as file:
    size = next(int(line.split()[1]) * 1024 for line in file if line.startswith(used))
bound = size + room
resource.setrlimit(getattr(resource, limit), (bound, bound))
try:
    print("answers", pipeline(model=path, verify="never", num_threads=1, **options)("a b c")[0]["label"])
except EdgepipeError as error:
    print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_wide(tmp_path_factory.mktemp("wide") / "bundle", WIDE)


def bound_by(monkeypatch: pytest.MonkeyPatch, most: int, left: int, *, counts_mapped: bool = False) -> None:
    bound = MemoryBound("the board", most * MEGABYTE, left * MEGABYTE, counts_mapped)
    monkeypatch.setattr(memory_check, "memory_bounds", lambda: [bound])


def test_what_can_never_work_is_an_error_that_names_what_does(wide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bound_by(monkeypatch, most=150, left=100)
    with pytest.raises(OutOfMemoryError) as raised:
        pipeline(model=wide, dtype="fp32")
    said = str(raised.value)
    assert "its weights need 201 MB of memory, and the board leaves 150 MB for them" in said
    assert "take low_memory=True (--low-memory), which leaves the weights in their file, or dtype='int8'" in said
    assert isinstance(raised.value, MemoryError)


def test_what_may_work_is_a_warning(wide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bound_by(monkeypatch, most=1000, left=100)
    with pytest.warns(UserWarning, match="the weights of fp32 need 201 MB of memory, and the board has 100 MB free"):
        assert pipeline(model=wide, dtype="fp32")("a b c")


@pytest.mark.parametrize("options", [{"dtype": "int8"}, {"dtype": "fp32", "low_memory": True}], ids=["small", "mapped"])
def test_what_fits_is_loaded_without_a_word(
    wide: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    bound_by(monkeypatch, most=150, left=100)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pipeline(model=wide, **options)("a b c")  # type: ignore[call-overload]


def test_without_another_way_it_says_what_is_left_to_do(wide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bound_by(monkeypatch, most=0, left=0, counts_mapped=True)
    with pytest.raises(OutOfMemoryError, match="make room, or export a smaller variant"):
        pipeline(model=wide, dtype="fp32", low_memory=True)


def limited(wide: Path, room: int, limit: str = "RLIMIT_AS", **options: object) -> str:
    arguments = [str(wide), room * MEGABYTE, limit, {"dtype": "fp32", **options}]
    return run_python(LIMITED, json.dumps(arguments), env={"OPENBLAS_NUM_THREADS": "1"}).strip()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit, or do not keep it")
@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_a_limit_of_the_process_is_seen(wide: Path, limit: str) -> None:
    said = limited(wide, WIDE // 2, limit)
    assert said.startswith("OutOfMemoryError ")
    assert "its weights need" in said
    assert "dtype='int8' (--dtype int8)" in said


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit, or do not keep it")
@pytest.mark.parametrize("low_memory", [False, True], ids=["plain", "low-memory"])
def test_nothing_is_refused_that_works(wide: Path, low_memory: bool) -> None:
    """With less and less room: where a load is refused before it begins, onnxruntime cannot do it either."""
    refused = []
    for room in (900, 700, 500, 450, 400, 350, 300, 250):
        said = limited(wide, room, low_memory=low_memory)
        if "its weights need" in said:
            refused.append(room)
        elif said.startswith("answers"):
            assert not refused, f"{room} MB are enough, and {refused} were refused"
    assert limited(wide, 900, low_memory=low_memory).startswith("answers")


@pytest.mark.skipif(shutil.which("systemd-run") is None, reason="a control group is made by systemd-run")
def test_a_control_group_is_seen(wide: Path) -> None:
    group = ["systemd-run", "--user", "--scope", "--quiet", "--property", f"MemoryMax={WIDE // 2}M"]
    group += ["--property", "MemorySwapMax=0"]
    if subprocess.run([*group, "true"], capture_output=True, check=False).returncode != 0:
        pytest.skip("systemd cannot make a control group here")
    program = "import sys; from edgepipe import pipeline; pipeline(model=sys.argv[1], dtype='fp32', verify='never')"
    done = subprocess.run(
        [*group, sys.executable, "-c", program, str(wide)], capture_output=True, text=True, check=False
    )
    assert "the control group (container)" in done.stderr


def test_whether_a_variant_fits(wide: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = Bundle.load(wide)
    for left, fitting in ((150, ["int8"]), (400, ["fp32", "int8"])):
        bound_by(monkeypatch, most=400, left=left)
        found = [name for name in bundle.dtypes if memory_check.fits_memory(bundle, name, SessionConfig())]
        assert found == fitting
