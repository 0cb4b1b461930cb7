"""The Python of the how-to pages runs as it stands, and gives what the page says."""

from __future__ import annotations

import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules as models

from edgepipe_export import export
from tests.documentation.run_page import called, run_page
from tests.runtime.serve.writing_bundles import make_chat
from tests.runtime.small_bundle import LABELS, write_bundle
from tests.tiny import build

TEXTS = ["I love this.", "What a waste of time!", "It was late again."]
FOREIGN = Path(__file__).parents[1] / "data" / "foreign" / "optimum-text-classification"


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle called ``bundle``, in the folder at hand."""
    monkeypatch.chdir(tmp_path)
    write_bundle(tmp_path / "bundle", ("fp32", "int8"))
    return tmp_path / "bundle"


@pytest.fixture(scope="module")
def parity_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint and its bundle."""
    folder = tmp_path_factory.mktemp("parity")
    build("bert", directory=folder / "checkpoint")
    export(folder / "checkpoint", folder / "bundle", dtypes=("fp32", "int8"), verify=False)
    return folder


@pytest.fixture(scope="module")
def sentence_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a sentence encoder, its bundle, and what the ONNX backend of sentence-transformers leaves."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sentence")
    build("bert", task="feature-extraction", directory=folder / "bert")
    transformer = models.Transformer(str(folder / "bert"))
    transformer.max_seq_length = 20
    modules = [transformer, models.Pooling(32, "mean"), models.Normalize()]
    SentenceTransformer(modules=modules, device="cpu").save(str(folder / "sentence-model"))
    made = export(folder / "sentence-model", folder / "minilm", verify=False)
    shutil.copytree(folder / "sentence-model", folder / "exported-by-sentence-transformers")
    shutil.copytree(made.path / "onnx", folder / "exported-by-sentence-transformers" / "onnx")
    return folder


def test_choosing_a_variant(bundle: Path) -> None:
    classify = run_page("docs/how-to/choosing-a-variant.md")["classify"]
    assert classify.model.dtype == "int8"


def test_boards(bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(TEXTS)))
    run_page("docs/how-to/boards.md")
    labels = capsys.readouterr().out.splitlines()
    assert len(labels) == len(TEXTS)
    assert set(labels) <= set(LABELS)


def test_structured_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with called(tmp_path, make_chat(tmp_path).name, "my-bundle"):
        found = run_page("docs/how-to/structured-output.md")
    assert found["answer"]["mood"] in {"good", "bad", "mixed"}
    assert found["answer"]["stars"] in range(1, 6)
    assert json.loads("".join(found["pieces"])) == found["answer"]
    assert re.fullmatch(r"20\d\d-[01]\d-[0-3]\d", found["date"])
    assert found["mood"] in {"good", "bad", "mixed"}


def ask(application: Any, body: bytes) -> tuple[str, Any]:
    """What a WSGI application answers to a request with this body."""
    statuses: list[str] = []
    environ = {"CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
    answer = b"".join(application(environ, lambda status, headers: statuses.append(status)))
    return statuses[0], json.loads(answer)


def test_services(bundle: Path) -> None:
    application = run_page("docs/how-to/services.md")["application"]
    status, results = ask(application, json.dumps({"texts": TEXTS}).encode())
    assert status == "200 OK"
    assert [result["label"] in LABELS for result in results] == [True] * len(TEXTS)
    for body in (b"", b"{", b"[]", b'{"texts": [1]}', b'{"text": "a"}'):
        status, answer = ask(application, body)
        assert status == "400 Bad Request"
        assert answer["error"]


def test_private_and_offline(bundle: Path) -> None:
    with called(bundle.parent, "bundle", "owner/name"):
        classify = run_page("docs/how-to/private-and-offline.md")["classify"]
    assert classify(TEXTS[0])[0]["label"] in LABELS


def test_parity_in_ci(parity_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(parity_folder)
    names = run_page("docs/how-to/parity-in-ci.md")
    names["test_the_bundle_equals_the_checkpoint"]()
    names["test_int8_keeps_the_labels"]()


def test_from_sentence_transformers(sentence_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sentence_folder)
    names = run_page("docs/how-to/from-sentence-transformers.md")
    assert names["same_vectors"].dtype == np.float32
    np.testing.assert_allclose(names["same_vectors"], names["vectors"], atol=1e-5)
    np.testing.assert_allclose(names["vectors_of_its_graph"], names["vectors"], atol=1e-5)
    np.testing.assert_allclose(names["same_similarity"], names["similarity"].numpy()[0], atol=1e-5)


def test_from_onnxruntime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model").symlink_to(FOREIGN)
    names = run_page("docs/how-to/from-onnxruntime.md")
    for sentence in TEXTS:
        theirs, [ours], [with_options] = (
            names[name](sentence) for name in ("classify", "classify_too", "classify_with_options")
        )
        assert theirs["label"] == ours["label"] == with_options["label"]
        assert ours["score"] == pytest.approx(theirs["score"], abs=1e-6)
    assert names["logits"].shape == (2, 3)
