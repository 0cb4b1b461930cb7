"""Links out of a bundle's folder are not followed, whatever is behind them; those of the Hub's cache are."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from edgepipe import Tokenizer, pipeline
from edgepipe.bundle.containment import find_stranger
from edgepipe.errors import BundleError
from tests.runtime.small_bundle import write_bundle

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links and pipes are Unix's")

SECRET = "the secret of another user"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text(SECRET)
    return write_bundle(tmp_path / "bundle")


NAMES = ("config.json", "edgepipe.json", "tokenizer.json", "onnx/model.onnx", "onnx/model.onnx_data", "onnx")


@pytest.mark.parametrize("relative", [True, False], ids=["relative", "absolute"])
@pytest.mark.parametrize("name", NAMES)
def test_a_link_out_of_the_bundle(bundle: Path, name: str, relative: bool) -> None:
    outside = bundle.parent / "outside" / name
    outside.parent.mkdir(parents=True, exist_ok=True)
    (bundle / name).rename(outside)  # a whole file: nothing but the link is wrong
    target = Path(os.path.relpath(outside, (bundle / name).parent)) if relative else outside
    (bundle / name).symlink_to(target)
    with pytest.raises(BundleError, match=f"{name} is a link to .*{name}, out of .*; where you trust it, copy"):
        pipeline(model=bundle)


@pytest.mark.parametrize("name", ["chat_template.jinja", "1_Pooling/config.json", "a/b/c/d.json", "README.md"])
def test_a_link_that_nothing_needs(bundle: Path, name: str) -> None:
    (bundle / name).parent.mkdir(parents=True, exist_ok=True)
    (bundle / name).symlink_to(bundle.parent / "secret")
    with pytest.raises(BundleError, match="is not followed") as caught:
        pipeline(model=bundle)
    assert SECRET not in str(caught.value)
    with pytest.raises(BundleError, match="is not followed"):
        Tokenizer.from_pretrained(bundle)


@pytest.mark.parametrize(
    "name", ["chat_template.jinja", "additional_chat_templates/one.jinja", "1_Dense/model.safetensors"]
)
def test_a_pipe_and_a_device(bundle: Path, name: str) -> None:
    path = bundle / name
    path.parent.mkdir(exist_ok=True)
    os.mkfifo(path)
    with pytest.raises(BundleError, match=f"{name} is no regular file"):
        pipeline(model=bundle)
    path.unlink()
    path.symlink_to("/dev/zero")
    with pytest.raises(BundleError, match=f"{name} is a link to /dev/zero"):
        pipeline(model=bundle)


def test_links_within_the_bundle_and_the_bundle_by_a_link(bundle: Path) -> None:
    (bundle / "weights").mkdir()
    (bundle / "onnx" / "model.onnx_data").rename(bundle / "weights" / "data")
    (bundle / "onnx" / "model.onnx_data").hardlink_to(bundle / "weights" / "data")
    (bundle / "config.json").rename(bundle / "weights" / "config.json")
    (bundle / "config.json").symlink_to("weights/config.json")
    (bundle.parent / "current").symlink_to(bundle.name)
    assert pipeline(model=bundle.parent / "current")("a b c") == pipeline(model=bundle)("a b c")


def test_a_snapshot_of_the_cache(bundle: Path) -> None:
    snapshot = bundle.parent / "models--someone--sentiment" / "snapshots" / "0123"
    blobs = snapshot.parents[1] / "blobs"
    blobs.mkdir(parents=True)
    for number, path in enumerate(path for path in sorted(bundle.rglob("*")) if path.is_file()):
        link = snapshot / path.relative_to(bundle)
        link.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, blobs / str(number))
        link.symlink_to(os.path.relpath(blobs / str(number), link.parent))
    assert pipeline(model=snapshot)("a b c") == pipeline(model=bundle)("a b c")
    (blobs / "0").unlink()
    (blobs / "0").symlink_to(bundle.parent / "secret")  # by way of a blob
    assert "out of" in str(find_stranger(snapshot))


def test_what_is_not_there_is_not_refused(bundle: Path) -> None:
    (bundle / "nothing").symlink_to("../nowhere")
    (bundle / "itself").symlink_to("itself")
    assert find_stranger(bundle) is None
    assert find_stranger(bundle / "missing") is None
