"""The ONNX backend on the page for those who come from sentence-transformers, in its own environment."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer import modules

from edgepipe import pipeline
from edgepipe_export import export
from tests.documentation.pages import snippets
from tests.documentation.run_page import NEEDS_OPTIMUM, run_elsewhere
from tests.interop.environments import optimum_python
from tests.tiny import build

PAGE = "docs/how-to/from-sentence-transformers.md"


@pytest.mark.environments
def test_the_onnx_backend_and_the_directory_that_it_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    build("bert", task="feature-extraction", directory=tmp_path / "bert")
    transformer = modules.Transformer(str(tmp_path / "bert"))
    transformer.max_seq_length = 20
    parts = [transformer, modules.Pooling(32, "mean"), modules.Normalize()]
    SentenceTransformer(modules=parts, device="cpu").save(str(tmp_path / "sentence-model"))
    # The names of modules that versions before 6 know.
    listed = json.loads((tmp_path / "sentence-model" / "modules.json").read_text(encoding="utf-8"))
    for module in listed:
        module["type"] = f"sentence_transformers.models.{module['type'].rpartition('.')[2]}"
    (tmp_path / "sentence-model" / "modules.json").write_text(json.dumps(listed), encoding="utf-8")

    python = [snippet.code for snippet in snippets(PAGE) if snippet.language == "python"]
    [position] = [index for index, code in enumerate(python) if NEEDS_OPTIMUM in code]
    theirs = run_elsewhere(optimum_python("sentence-transformers[onnx]"), python[position], "vectors")
    names = {"pipeline": pipeline}
    exec(python[position + 1], names)
    np.testing.assert_allclose(names["vectors_of_its_graph"], theirs, atol=1e-5)

    bundle = export(tmp_path / "sentence-model", tmp_path / "minilm", verify=False)
    ours = pipeline("feature-extraction", bundle).embed(["A text", "and another"])
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
