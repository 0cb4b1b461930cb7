"""The Python on the pages runs as it stands, on tiny bundles under the names that the pages use."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest

from edgepipe import pipeline
from edgepipe_export import export
from tests.conftest import Exported
from tests.documentation.pages import PAGES, snippets
from tests.documentation.run_page import called, run_page
from tests.runtime.serve.running_server import serve_bundles
from tests.runtime.serve.tool_templates import TEMPLATES
from tests.runtime.serve.writing_bundles import make_chat
from tests.runtime.small_bundle import write_bundle
from tests.tiny import build
from tests.tiny.generative import build_generative

TEXTS = ["I love this.", "What a waste of time!", "It was late again."]
TEMPLATE = "{% for message in messages %}{{ message['content'] }} {% endfor %}"

# The models are tiny: what they write comes to their limit.
pytestmark = pytest.mark.filterwarnings("ignore:a text ends where the model's limit")

# What a page leaves to its reader.
GIVEN: dict[str, dict[str, Any]] = {
    "docs/how-to/running.md": {"pipeline": pipeline, "texts": TEXTS, "df": pandas.DataFrame({"review": TEXTS})},
    "docs/reference/generation.md": {
        "prompts": lambda: iter(TEXTS),
        "question_with_its_document": "The station is behind the bridge. Where is the station?",
        "other_chat": [{"role": "user", "content": "Where is the platform?"}],
        "schema": {"type": "function", "function": {"name": "time", "parameters": {}}},
    },
}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, tiny_export: Callable[..., Exported]) -> Path:
    """A folder with what the pages name."""
    folder = tmp_path_factory.mktemp("documentation")
    write_bundle(folder / "bundle", ("fp32", "int8"))
    write_bundle(folder / "classifier")
    shutil.copytree(tiny_export("bert").bundle.path, folder / "exported")
    (folder / "reviews.txt").write_text("\n".join(TEXTS), encoding="utf-8")

    model, tokenizer = build_generative("gpt2")
    export(model, folder / "writer", tokenizer=tokenizer, dtypes=("fp32", "w8"), verify=False)
    (folder / "writer" / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")

    shutil.copytree(tiny_export("bert", task="feature-extraction").bundle.path, folder / "minilm")
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]
    (folder / "minilm" / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (folder / "minilm" / "1_Pooling").mkdir()
    pooling = {"word_embedding_dimension": 32, "pooling_mode_mean_tokens": True}
    (folder / "minilm" / "1_Pooling" / "config.json").write_text(json.dumps(pooling), encoding="utf-8")
    return folder


def run(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run a page's Python among the bundles that it names; what it has defined by then."""
    monkeypatch.chdir(folder)
    return run_page(page, GIVEN.get(page, {}))


def test_the_readme(bundles: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    names = run("README.md", bundles, monkeypatch)
    assert names["classify"]("I love this")[0].keys() == {"label", "score"}
    assert names["classify"].model.dtype == "int8"
    assert names["write"].generates
    *results, streamed = capsys.readouterr().out.split("\n", len(TEXTS))
    assert len(results) == len(TEXTS)
    assert all("{'label'" in result for result in results)
    assert streamed


def test_running(bundles: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with called(bundles, "classifier", "my-bundle"):
        names = run("docs/how-to/running.md", bundles, monkeypatch)
    assert names["result"].keys() == {"label", "score"}
    assert f"{len(TEXTS)}/{len(TEXTS)}" in capsys.readouterr().err


def test_datasets(bundles: Path) -> None:
    """As a program of its own: other processes take what it defines."""
    pandas.DataFrame({"review": TEXTS}).to_csv(bundles / "reviews.csv", index=False)
    code = [each.code for each in snippets("docs/how-to/datasets.md") if each.language == "python"]
    before, after = (
        "import pandas; table = pandas.read_csv('reviews.csv')",
        "print(batch.schema.names, data['label'][:])",
    )
    (bundles / "page.py").write_text("\n".join([before, *code, after]), encoding="utf-8")
    done = subprocess.run([sys.executable, "page.py"], cwd=bundles, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    labels = [pipeline(model=bundles / "bundle")(text)[0]["label"] for text in TEXTS]
    assert done.stdout.splitlines()[-1] == f"['review', 'label', 'score', 'error'] {labels}"
    assert len(list((bundles / "labelled").glob("part-*.csv"))) == 1


def test_openvino(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino", reason="openvino has no wheel for this system")
    with called(bundles, "classifier", "my-bundle"):
        names = run("docs/how-to/openvino.md", bundles, monkeypatch)
    assert names["classify"].device.type == "openvino"


def test_generation(bundles: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with called(bundles, "writer", "my-bundle"), called(bundles, "writer", "my-smaller-bundle"):
        names = run("docs/reference/generation.md", bundles, monkeypatch)
    assert names["piece"] in capsys.readouterr().out
    assert len(names["generate"](names["chat"])[0]["generated_text"]) == 1 + len(names["chat"])


def test_embeddings(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = run("docs/reference/embeddings.md", bundles, monkeypatch)
    assert names["extract"].embed("A text").shape == (32,)
    assert len(names["compare"]({"source_sentence": "a", "sentences": ["b", "c"]})) == 2


def test_checking(bundles: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino", reason="openvino has no wheel for this system")
    with called(bundles, "exported", "my-bundle"):
        names = run("docs/how-to/checking.md", bundles, monkeypatch)
    assert names["found"].engine.startswith("openvino")


def test_the_gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build("bert", directory=tmp_path / "checkpoint")
    names = run("docs/explanation/gate.md", tmp_path, monkeypatch)
    assert names["bundle"].dtypes


def test_openai(bundles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, calls = (each.code for each in snippets("docs/reference/serve-openai.md") if each.language == "python")
    names: dict[str, Any] = {}
    writer = bundles / "writer"
    with serve_bundles(bundles / "minilm", f"gpt2={writer}", f"chat={writer}", options=("--dtype", "fp32")) as server:
        exec(first.replace("http://127.0.0.1:8080", server.url), names)
    with serve_bundles(make_chat(bundles, TEMPLATES["hermes"], 1024)) as server:
        names["client"].base_url = f"{server.url}/v1"
        exec(calls, names)
        names["client"].close()
    assert names["call"].function.name == "get_weather"
    assert len(json.loads(names["call"].function.arguments)["city"]) <= 40
    assert names["chunk"].choices[0].finish_reason in {"stop", "length"}
    assert capsys.readouterr().out


def test_ray(bundles: Path) -> None:
    ray = pytest.importorskip("ray")
    (bundles / "reviews.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS))
    # Other tests have clusters on this machine, too, and Ray would join the newest.
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80 << 20)
    names: dict[str, Any] = {}
    try:
        with called(bundles, "bundle", "bundle-2"):
            for snippet in snippets("docs/how-to/ray.md"):
                if snippet.language == "python":
                    exec(snippet.code.replace("/shared/", f"{bundles}/"), names)
            assert names["serve"].status().applications["default"].status == "RUNNING"
        assert sorted(row["text"] for row in names["rows"]) == sorted(TEXTS)
        assert len(pandas.read_parquet(bundles / "labels")) == len(TEXTS)  # the replicas have all processors of Ray's
    finally:
        names["serve"].shutdown()
        ray.shutdown()


# Why the Python of a page is not run by a test of these.
NOT_RUN = {
    "docs/how-to/cuda.md": "needs a GPU; tests/gpu",
    "docs/explanation/cuda-speed.md": "needs a GPU; tests/gpu",
    "docs/how-to/plugin-providers.md": "needs plug-ins; tests/packaging/test_plugins.py",
    "docs/how-to/from-optimum.md": "needs an environment with optimum",
    "docs/reference/interop.md": "needs an environment with optimum; make interop",
}


def test_every_page_with_python_is_run_somewhere() -> None:
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    with_python = [page for page in PAGES if any(snippet.language == "python" for snippet in snippets(page))]
    assert len(with_python) > len(NOT_RUN)
    for page in with_python:
        assert page in NOT_RUN or f'"{page}"' in tests, f"{page}: write a test that runs its Python"
