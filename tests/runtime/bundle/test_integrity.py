"""Files that are there and cannot be read: every error names the file, the cause and what to do."""

from __future__ import annotations

import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgepipe import pipeline
from edgepipe.bundle.integrity import read_text, sha256, sha256_of_bytes
from edgepipe.errors import BundleError
from tests.runtime.processes import run_python
from tests.runtime.small_bundle import write_bundle

GRAPH, WEIGHTS = "onnx/model.onnx", "onnx/model.onnx_data"
OURS, FOREIGN = "with a manifest", "without one"
AGAIN = "export or download the bundle again"

# As another user, because root may read everything; what is imported on the first use is imported before.
AS_NOBODY = """
    import os, sys
    from edgepipe import EdgepipeError, pipeline

    pipeline(model=sys.argv[1])("a b c")
    if os.geteuid() == 0:
        os.seteuid(65534)
    try:
        print(pipeline(model=sys.argv[2])("a b c"))
    except EdgepipeError as error:
        print(type(error).__name__, error)
"""


def written(folder: Path, kind: str) -> Path:
    write_bundle(folder)
    (folder / WEIGHTS).chmod(0o644)  # onnx writes weights that only their owner may read
    if kind == FOREIGN:
        (folder / "edgepipe.json").unlink()
    return folder


def become_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to("../../blobs/0123abcd")


def link_to_itself(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def become_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


HARMS: dict[Callable[[Path], None], str] = {
    become_directory: f"is a directory, and should be a file; {AGAIN}",
    dangle: f"is missing: it is a link to ../../blobs/0123abcd, which is not there; copy .*, or {AGAIN}",
    link_to_itself: f"cannot be read: Too many levels of symbolic links; {AGAIN}",
    become_pipe: f"is no regular file .*; {AGAIN}",
}


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes are Unix's")
@pytest.mark.parametrize("kind", [OURS, FOREIGN])
@pytest.mark.parametrize("name", [GRAPH, WEIGHTS, "config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("harm", HARMS)
def test_what_is_no_file(tmp_path: Path, kind: str, name: str, harm: Callable[[Path], None]) -> None:
    folder = written(tmp_path / "bundle", kind)
    harm(folder / name)
    with pytest.raises(BundleError, match=f"{re.escape(str(folder / name))} {HARMS[harm]}"):
        pipeline(model=folder)


@pytest.mark.parametrize("harm", HARMS)
def test_a_manifest_that_is_no_file_is_not_passed_over(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    folder = write_bundle(tmp_path / "bundle")
    harm(folder / "edgepipe.json")
    with pytest.raises(BundleError, match=rf"edgepipe\.json {HARMS[harm]}"):
        pipeline(model=folder)


@pytest.mark.parametrize("size", [0, 100])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        (WEIGHTS, r"model\.onnx_data has {size} bytes, the graph needs more: .*; {again}"),
        (GRAPH, r"model\.onnx is no whole ONNX graph, its {size} bytes .*; {again}"),
    ],
)
def test_truncated_files_without_a_manifest(tmp_path: Path, size: int, name: str, said: str) -> None:
    folder = written(tmp_path / "bundle", FOREIGN)
    os.truncate(folder / name, size)
    with pytest.raises(BundleError, match=said.format(size=size, again=AGAIN)):
        pipeline(model=folder)


def test_missing_weights_without_a_manifest(tmp_path: Path) -> None:
    folder = written(tmp_path / "bundle", FOREIGN)
    (folder / WEIGHTS).unlink()
    with pytest.raises(BundleError, match=rf"{re.escape(str(folder / WEIGHTS))} is missing; {AGAIN}"):
        pipeline(model=folder)


def test_what_is_beside_a_graph_is_not_to_blame(tmp_path: Path) -> None:
    folder = written(tmp_path / "bundle", FOREIGN)
    (folder / "onnx/model.onnx.old").mkdir()
    (folder / "onnx/model.onnx_data_1").symlink_to("nowhere")
    (folder / GRAPH).write_bytes(b"\x08\x07" * 100)
    with pytest.raises(BundleError, match=r"model\.onnx_data_1 is missing: it is a link to nowhere"):
        pipeline(model=folder)
    (folder / "onnx/model.onnx_data_1").unlink()
    with pytest.raises(BundleError, match=r"cannot load .*model\.onnx: (?!.*model\.onnx\.old)"):
        pipeline(model=folder)


@pytest.fixture(scope="module")
def open_to_all() -> Iterator[Path]:
    """A folder that every user can enter, which pytest's own are not."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has other permissions")
@pytest.mark.parametrize("kind", [OURS, FOREIGN])
@pytest.mark.parametrize("name", [GRAPH, WEIGHTS, "onnx", "config.json", "tokenizer.json", "."])
def test_what_may_not_be_read(open_to_all: Path, kind: str, name: str) -> None:
    good = open_to_all / "good"
    if not good.exists():
        write_bundle(good)
    folder = written(Path(tempfile.mkdtemp(dir=open_to_all)), kind)
    folder.chmod(0o755)
    (folder / name).chmod(0)
    try:
        said = run_python(AS_NOBODY, str(good), str(folder))
    finally:
        (folder / name).chmod(0o755)
    assert re.search(
        rf"^BundleError .*{re.escape(str(folder / name))}\S* cannot be read: Permission denied; give", said
    )
    assert "chmod -R a+rX" in said


@pytest.mark.parametrize("content", ["", "a\r\nb\rc\n\r\n", "\ufeff\U0001f600\r"])
def test_a_text_is_what_python_reads(tmp_path: Path, content: str) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes(content.encode())
    assert read_text(file) == file.read_text(encoding="utf-8")


def test_a_text_that_is_longer_than_allowed(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text("1234", encoding="utf-8")
    assert read_text(file, 4) == "1234"
    with pytest.raises(BundleError, match=r"a\.txt cannot be read: it has 4 bytes, and no such file has more than 3"):
        read_text(file, 3)


@pytest.mark.parametrize("size", [0, 5, 1_000_000, 1_000_001])
def test_sha256_is_hashlib_s_at_every_size(size: int, tmp_path: Path) -> None:
    content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "file").write_bytes(content)
    expected = hashlib.sha256(content).hexdigest()
    assert sha256(tmp_path / "file") == expected
    assert sha256_of_bytes(content) == expected
