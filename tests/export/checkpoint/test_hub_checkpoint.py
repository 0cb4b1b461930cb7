"""Checkpoints from the Hub, by the real download code from a server on the loopback that answers as the Hub does."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edgepipe.bundle.hub import is_repo_id
from edgepipe.errors import CheckpointError
from edgepipe_export.checkpoint.hub_checkpoint import select_files

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REPO = "someone/tiny-bert"


class Hub(ThreadingHTTPServer):
    """Serves one repository at one commit, under the branch ``main``."""

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.served: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, body: bool) -> None:
        if self.path.startswith(f"/api/models/{REPO}"):
            revision = self.path.rpartition("/revision/")[2].partition("?")[0]
            if "/revision/" in self.path and revision not in ("main", COMMIT):
                self.send(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
                return
            if "/tree/" in self.path:
                files = [
                    {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                    for name, content in self.server.files.items()
                ]
                self.send(200, json.dumps(files).encode(), {"Content-Type": "application/json"})
                return
            listing = {"id": REPO, "sha": COMMIT, "siblings": [{"rfilename": name} for name in self.server.files]}
            self.send(200, json.dumps(listing).encode(), {"Content-Type": "application/json"})
            return
        name = self.path.removeprefix(f"/{REPO}/resolve/{COMMIT}/")
        content = self.server.files.get(name)
        if content is None:
            self.send(404, b"{}", {"X-Error-Code": "RepoNotFound" if self.path.startswith("/api") else "EntryNotFound"})
            return
        if body:
            self.server.served.append(name)
        etag = hashlib.sha256(content).hexdigest()
        self.send(200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT}, body)

    def send(self, status: int, content: bytes, headers: dict[str, str], body: bool = True) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(checkpoint: Path) -> Iterator[Hub]:
    files = {path.name: path.read_bytes() for path in checkpoint.iterdir()}
    files |= {"README.md": b"---\nlicense: mit\n---\n", "pytorch_model.bin": b"pickle", "onnx/model.onnx": b"another's"}
    server = Hub(files)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def export_from(endpoint: str, home: Path, output: Path) -> str:
    """Export the repository; returns the error."""
    return said_by(
        "from edgepipe_export import export",
        f"export({REPO!r}, {str(output)!r}, verify=False, progress=False)",
        endpoint,
        home,
    )


def fetch_from(endpoint: str, home: Path, *, revision: str | None = None) -> str:
    """Download what an export reads, as its first stage does; returns the commit and the files, or the error."""
    return said_by(
        "from edgepipe_export.checkpoint.resolve import Request, resolve",
        f"found = resolve(Request({REPO!r}, revision={revision!r})); "
        "print(found.revision, sorted(file.name for file in found.directory.iterdir()))",
        endpoint,
        home,
        HF_HUB_DISABLE_PROGRESS_BARS="1",  # an export writes them to its log
    )


def said_by(imports: str, statement: str, endpoint: str, home: Path, **more: str) -> str:
    """What a statement prints in a process of its own, which reads the endpoint when it starts; or its error."""
    code = f"""
from edgepipe.errors import EdgepipeError
{imports}
try:
    {statement}
except EdgepipeError as error:
    print(type(error).__name__, error)
"""
    offline = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    environment = {name: value for name, value in os.environ.items() if name not in offline}
    environment |= {"HF_ENDPOINT": endpoint, "HF_HOME": str(home), "HF_HUB_DISABLE_XET": "1"}
    environment |= {"OMP_NUM_THREADS": "1"} | more
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, cwd=home.parent
    )
    # What bitsandbytes says when peft imports it; an export has it in its log.
    said = [line for line in run.stderr.splitlines() if "kernels-community" not in line]
    assert said == []
    return run.stdout


def test_a_hub_id_is_downloaded_and_its_commit_pinned(hub: Hub, tmp_path: Path) -> None:
    endpoint = f"http://127.0.0.1:{hub.server_port}"
    assert export_from(endpoint, tmp_path / "home", tmp_path / "out") == ""
    manifest = json.loads((tmp_path / "out" / "edgepipe.json").read_text())
    assert manifest["source"] == {
        "model": REPO,
        "revision": COMMIT,
        "architecture": "BertForSequenceClassification",
        "base": None,
        "base_revision": None,
    }
    card = (tmp_path / "out" / "README.md").read_text()
    assert 'license: "mit"' in card
    assert f'base_model: "{REPO}"' in card
    assert sorted(hub.served) == [
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_without_a_network_the_cache_serves(hub: Hub, tmp_path: Path) -> None:
    online = fetch_from(f"http://127.0.0.1:{hub.server_port}", tmp_path / "home")
    assert online.startswith(COMMIT)
    assert "model.safetensors" in online
    nowhere = "http://127.0.0.1:9"
    assert fetch_from(nowhere, tmp_path / "home") == online
    error = fetch_from(nowhere, tmp_path / "empty")
    assert error.startswith(f"DownloadError no directory '{REPO}' is there")


def test_a_revision_that_is_not_there(hub: Hub, tmp_path: Path) -> None:
    endpoint = f"http://127.0.0.1:{hub.server_port}"
    error = fetch_from(endpoint, tmp_path / "home", revision="v9")
    assert error.startswith(
        f"DownloadError there is neither a directory nor a Hub repository '{REPO}' at revision 'v9'"
    )


def test_an_adapter_is_refused_before_its_download(hub: Hub, tmp_path: Path) -> None:
    hub.files["adapter_config.json"] = b"{}"
    error = fetch_from(f"http://127.0.0.1:{hub.server_port}", tmp_path / "home")
    assert "has an adapter beside its weights" in error
    assert hub.served == []


def test_quantized_weights_are_refused_before_their_download(hub: Hub, tmp_path: Path) -> None:
    config = json.loads(hub.files["config.json"]) | {"quantization_config": {"quant_method": "awq"}}
    hub.files["config.json"] = json.dumps(config).encode()
    assert "is quantized by awq already" in fetch_from(f"http://127.0.0.1:{hub.server_port}", tmp_path / "home")
    assert hub.served == ["config.json"]


def test_an_adapter_without_its_base(hub: Hub, checkpoint: Path, tmp_path: Path) -> None:
    for name in ("model.safetensors", "config.json", "pytorch_model.bin"):
        del hub.files[name]
    settings = {"peft_type": "LORA", "task_type": "SEQ_CLS", "base_model_name_or_path": str(checkpoint)}
    weights = (checkpoint / "model.safetensors").read_bytes()
    hub.files |= {"adapter_config.json": json.dumps(settings).encode(), "adapter_model.safetensors": weights}
    found = fetch_from(f"http://127.0.0.1:{hub.server_port}", tmp_path / "home")
    assert COMMIT in found
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json"} <= set(hub.served)


def test_a_repository_with_pickles_only(hub: Hub, tmp_path: Path) -> None:
    del hub.files["model.safetensors"]
    error = fetch_from(f"http://127.0.0.1:{hub.server_port}", tmp_path / "home")
    assert error.startswith(f"CheckpointError {REPO} has no safetensors, only pickled weights (pytorch_model.bin)")
    assert hub.served == []


def test_select_files() -> None:
    names = ["config.json", "vocab.txt", "model.safetensors", "pytorch_model.bin", "onnx/model.onnx", "modeling.py"]
    names += ["tf_model.h5", "1_Pooling/config.json", "adapter_model.safetensors", "image.png"]
    plain = select_files(REPO, names, allow_pickle=False, remote_code=False)
    assert plain == ["1_Pooling/config.json", "config.json", "vocab.txt", "model.safetensors"]
    assert "modeling.py" in select_files(REPO, names, allow_pickle=False, remote_code=True)
    assert "pytorch_model.bin" not in select_files(REPO, names, allow_pickle=True, remote_code=False)
    names.remove("model.safetensors")
    assert "pytorch_model.bin" in select_files(REPO, names, allow_pickle=True, remote_code=False)
    with pytest.raises(CheckpointError, match="no weights"):
        select_files(REPO, ["config.json"], allow_pickle=True, remote_code=False)


def test_sharded_weights_are_all_wanted() -> None:
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
    assert sorted(select_files(REPO, names, allow_pickle=False, remote_code=False)) == names


@pytest.mark.parametrize("text", ["bert", "someone/bert-base.v1", "a/b_c"])
def test_hub_ids(text: str) -> None:
    assert is_repo_id(text)


@pytest.mark.parametrize("text", ["./bert", "/bert", "a/b/c", "", "a/", "a b", "../a"])
def test_no_hub_ids(text: str) -> None:
    assert not is_repo_id(text)
