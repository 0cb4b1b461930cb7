"""The installed wheel, in an environment with only what it requires."""

from __future__ import annotations

import json
import re
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import edgepipe
from edgepipe import Bundle, pipeline
from edgepipe_export import export
from tests.architecture.sources import ROOTS
from tests.golden import make_embedded
from tests.golden.compare import assert_same
from tests.packaging.conftest import Installation
from tests.runtime.small_bundle import write_bundle
from tests.tiny.generative import build_generative

# Eight-bit arithmetic rounds otherwise on other processors, and a rounding can tip another.
INT8_TOLERANCE = 0.05
TEXTS = ["a b c", "", "日本 😀", "be\x00fore"]


# What makes `optimum-cli export edgepipe`; without `__init__.py`, since optimum's namespace is shared.
REGISTERED = "optimum/commands/register/register_edgepipe.py"


def test_the_wheel_holds_the_three_packages_and_what_optimum_finds(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    checkout = {
        path.relative_to(root).as_posix()
        for package, root in ROOTS.items()
        for path in (root / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert names == checkout | {REGISTERED}
    assert {f"{package}/py.typed" for package in ROOTS} <= names


def test_what_the_wheel_requires(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(name).decode())
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert sorted(re.split(r"\W", line)[0] for line in required) == ["click", "numpy", "tokenizers"]
    assert metadata["Version"] == edgepipe.__version__
    assert {"cpu", "gpu", "export", "optimum"} <= set(metadata.get_all("Provides-Extra", []))


def test_the_environment_is_clean(installed: Installation) -> None:
    listed = json.loads(installed.run("python", "-m", "pip", "list", "--format=json", "--disable-pip-version-check"))
    names = {package["name"].lower() for package in listed}
    assert {"edgepipe", "numpy", "tokenizers", "onnxruntime"} <= names
    assert not {"torch", "transformers", "optimum", "onnx", "onnxscript", "scipy", "sentencepiece"} & names


def test_the_installed_package_is_the_one_that_runs(installed: Installation) -> None:
    said = installed.run("python", "-c", "import edgepipe; print(edgepipe.__file__, edgepipe.__version__)")
    path, version = said.split()
    assert Path(path).is_relative_to(installed.root)
    assert version == edgepipe.__version__
    assert edgepipe.__version__ in installed.run("edgepipe", "--version")


def test_a_bundle_answers_as_it_does_here(installed: Installation, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    program = "import json, sys; from edgepipe import pipeline; texts = json.loads(sys.argv[2]); "
    program += "print(json.dumps(pipeline(model=sys.argv[1])(texts, top_k=None)))"
    answer = json.loads(installed.run("python", "-c", program, folder, json.dumps(TEXTS)))
    assert_same(answer, pipeline(model=folder)(TEXTS, top_k=None))


def test_the_command_line(installed: Installation, tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "bundle")
    lines = installed.run("edgepipe", "run", folder, *TEXTS[:2], "--json").splitlines()
    answers = [json.loads(line) for line in lines]
    assert [answer["input"] for answer in answers] == TEXTS[:2]
    expected = list(pipeline(model=folder)(iter(TEXTS[:2])))
    assert_same([answer["output"] for answer in answers], expected)
    assert "text-classification" in installed.run("edgepipe", "info", folder, "--check")


def test_the_exporter_says_what_it_lacks(installed: Installation, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"Error: .*edgepipe\[export\]") as raised:
        installed.run("edgepipe", "export", tmp_path, tmp_path / "out")
    assert "Traceback" not in str(raised.value)


def test_recipes_come_with_the_wheel(installed: Installation) -> None:
    assert "text-classification" in installed.run("edgepipe", "recipes")


def test_the_embedded_default_answers(installed: Installation) -> None:
    label, score = installed.run("edgepipe", "run", "I love this").split()[:2]
    assert label == "POSITIVE"
    assert 0.5 < float(score) <= 1
    assert installed.run("edgepipe", "run", "What a waste of time.").startswith("NEGATIVE")


def test_the_embedded_default_answers_as_frozen(installed: Installation) -> None:
    golden = json.loads(make_embedded.FILE.read_text(encoding="utf-8"))
    assert golden["sha256"] == make_embedded.fingerprint(), f"the bundle is another; run: {golden['made_by']}"
    assert [answer["text"] for answer in golden["answers"]] == make_embedded.TEXTS
    program = "import json, sys; from edgepipe import pipeline; "
    program += "print(json.dumps(pipeline()(json.loads(sys.argv[1]))))"
    found = json.loads(installed.run("python", "-c", program, json.dumps(make_embedded.TEXTS)))
    for answer, expected in zip(found, golden["answers"], strict=True):
        assert answer["label"] == expected["label"] or expected["score"] < 0.5 + INT8_TOLERANCE, expected["text"]
        assert answer["score"] == pytest.approx(expected["score"], abs=INT8_TOLERANCE), expected["text"]


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    model, tokenizer = build_generative("gpt2")
    folder = tmp_path_factory.mktemp("writer") / "bundle"
    dtypes = ("fp32", "w8", "q4")
    export(model, folder, task="text-generation", tokenizer=tokenizer, dtypes=dtypes, verify=False, progress=False)
    return folder


def test_every_onnxruntime_claimed_writes_the_same(installed: Installation, writer: Path) -> None:
    options = ("-o", "do_sample=false", "-o", "max_new_tokens=8", "-o", "num_beams=2")
    for dtype in Bundle.load(writer).dtypes:
        said = installed.run("edgepipe", "run", writer, "Hello there", "--json", "--dtype", dtype, *options)
        here = pipeline(model=writer, dtype=dtype)("Hello there", do_sample=False, max_new_tokens=8, num_beams=2)
        assert json.loads(said)["output"] == here
