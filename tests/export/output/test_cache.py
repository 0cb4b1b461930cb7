"""Records of what was measured: by hand here, and by exports that are stopped in test_reuse.py."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edgepipe_export.output.cache import Cache, hash_json

KEY = {"dtype": "int8", "precisions": {"b": "w8", "a": "fp32"}}


class Counted:
    """Makes a value, and counts how often it had to."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.count = 0

    def __call__(self) -> Any:
        self.count += 1
        return self.value


def ask(kept: Cache, make: Counted, key: Mapping[str, Any] = KEY) -> Any:
    return kept.value(key, compute=make, to_json=lambda value: value, from_json=lambda value: value)


def records(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def test_what_was_made_is_there_the_next_time(tmp_path: Path) -> None:
    make = Counted({"kl": 0.1 + 0.2, "worst": [float("inf"), "\ud800", "ß"], "none": None})
    first, second = Cache(tmp_path, "basis"), Cache(tmp_path, "basis")
    assert ask(first, make) == ask(second, make, {"precisions": {"a": "fp32", "b": "w8"}, "dtype": "int8"})
    assert (make.count, first.misses, first.hits, second.misses, second.hits) == (1, 1, 0, 0, 1)


def test_another_key_or_basis_is_another_value(tmp_path: Path) -> None:
    make = Counted(1)
    ask(Cache(tmp_path, "basis"), make)
    ask(Cache(tmp_path, "basis"), make, KEY | {"dtype": "w8"})
    ask(Cache(tmp_path, "another"), make)
    assert make.count == 3


def deep_record() -> bytes:
    """Lists within each other more often than Python can follow, with the digest that belongs to them."""
    body = b"[" * 100_000 + b"]" * 100_000
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


@pytest.mark.parametrize("damage", ["", "garbage", "cut", "altered", "\xff", "deep"])
def test_a_damaged_record_is_made_again(tmp_path: Path, damage: str) -> None:
    make = Counted(["passed", 0.25])
    ask(Cache(tmp_path, "basis"), make)
    (path,) = records(tmp_path)
    whole = path.read_bytes()
    changed = {"cut": whole[:-3], "altered": whole.replace(b"0.25", b"0.75"), "deep": deep_record()}
    path.write_bytes(changed.get(damage, damage.encode("latin-1")))
    assert ask(Cache(tmp_path, "basis"), make) == make.value
    assert make.count == 2
    assert path.read_bytes() == whole


def test_a_record_that_cannot_be_read_back_is_made_again(tmp_path: Path) -> None:
    make = Counted({"other": 1})
    ask(Cache(tmp_path, "basis"), make)
    again = Cache(tmp_path, "basis")
    found = again.value(
        KEY,
        compute=Counted(2),
        to_json=lambda value: {"number": value},
        from_json=lambda value: value["number"],
    )
    assert found == 2
    assert again.misses == 1


def test_afresh_makes_again_and_keeps_that(tmp_path: Path) -> None:
    ask(Cache(tmp_path, "basis"), Counted("old"))
    assert ask(Cache(tmp_path, "basis", refresh=True), Counted("new")) == "new"
    assert ask(Cache(tmp_path, "basis"), Counted("newest")) == "new"


def test_what_may_not_last_is_not_kept(tmp_path: Path) -> None:
    Cache(tmp_path, "basis").value(KEY, compute=Counted(1), to_json=int, from_json=int, keep=lambda value: value > 1)
    assert not records(tmp_path)


def test_nothing_is_kept_without_a_folder() -> None:
    kept, make = Cache(), Counted(1)
    assert [ask(kept, make), ask(kept, make)] == [1, 1]
    assert (kept.misses, kept.hits) == (2, 0)
    kept.prune()


def test_work_goes_on_where_nothing_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert ask(Cache(tmp_path / "file", "basis"), Counted(1)) == 1
    Cache(tmp_path / "file", "basis").prune()


@pytest.mark.skipif(sys.platform == "win32", reason="modes are POSIX's")
def test_texts_of_the_data_are_for_their_owner_alone(tmp_path: Path) -> None:
    ask(Cache(tmp_path / "edgepipe", "basis"), Counted(1))
    assert {(tmp_path / name).stat().st_mode & 0o077 for name in ("edgepipe", "edgepipe/basis")} == {0}


def write_graph(folder: Path, content: bytes = b"graph") -> Mapping[str, Any]:
    (folder / "model_int8.onnx").write_bytes(content)
    (folder / "model_int8.onnx_data").write_bytes(2 * content)
    return {"name": "int8"}


def graph_of(kept: Cache, folder: Path, content: bytes = b"graph") -> Mapping[str, Any]:
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(b"fp32")
    return kept.files(KEY, folder, ["model_int8.onnx"], lambda: write_graph(folder, content))


def test_a_graph_that_took_long_comes_back(tmp_path: Path) -> None:
    root = tmp_path / "kept"
    graph_of(Cache(root, "basis", min_seconds=0), tmp_path / "one")
    again = Cache(root, "basis", min_seconds=0)
    assert graph_of(again, tmp_path / "two", b"not made") == {"name": "int8"}
    assert again.hits == 1
    found = {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    assert found == {"model.onnx": b"fp32", "model_int8.onnx": b"graph", "model_int8.onnx_data": b"graphgraph"}


def test_a_graph_that_was_quick_is_not_kept(tmp_path: Path) -> None:
    graph_of(Cache(tmp_path / "kept", "basis", min_seconds=60), tmp_path / "one")
    assert not records(tmp_path / "kept")


@pytest.mark.parametrize("damaged", ["model_int8.onnx", "model_int8.onnx_data", "record.json"])
@pytest.mark.parametrize("content", [b"other", None, deep_record()], ids=["other", "none", "deep"])
def test_a_damaged_graph_is_made_again(tmp_path: Path, damaged: str, content: bytes | None) -> None:
    root = tmp_path / "kept"
    graph_of(Cache(root, "basis", min_seconds=0), tmp_path / "one")
    (path,) = [path for path in records(root) if path.name == damaged]
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    graph_of(Cache(root, "basis", min_seconds=0), tmp_path / "two", b"again")
    assert (tmp_path / "two" / "model_int8.onnx_data").read_bytes() == b"againagain"
    graph_of(Cache(root, "basis", min_seconds=0), tmp_path / "three", b"no more")
    assert (tmp_path / "three" / "model_int8.onnx").read_bytes() == b"again"


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    kept = Cache(tmp_path, "basis")
    for number in range(4):
        ask(kept, Counted("x" * 1000), {"number": number})
        os.utime(tmp_path / "basis" / f"{hash_json({'number': number})}.json", (number, number))
    ask(kept, Counted("unused"), {"number": 0})  # used again
    kept.prune(2500)
    left = [number for number in range(4) if (tmp_path / "basis" / f"{hash_json({'number': number})}.json").exists()]
    assert left == [0, 3]
    kept.prune(0)
    assert not (tmp_path / "basis").exists()


def test_many_at_once(tmp_path: Path) -> None:
    wrong = []

    def work() -> None:
        for number in range(50):
            if ask(Cache(tmp_path, "basis"), Counted("x" * 5000), {"number": number % 5}) != "x" * 5000:
                wrong.append(number)
            graph_of(Cache(tmp_path / "graphs", "basis", min_seconds=0), tmp_path / threading.current_thread().name)

    threads = [threading.Thread(target=work, name=f"worker-{number}") for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not [path for path in records(tmp_path / "basis") if path.suffix != ".json"]
    folders = [tmp_path / thread.name for thread in threads]
    assert {(folder / "model_int8.onnx_data").read_bytes() for folder in folders} == {b"graphgraph"}
    assert len([*(tmp_path / "graphs" / "basis").iterdir()]) == 1
