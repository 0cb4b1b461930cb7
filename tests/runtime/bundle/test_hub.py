"""Bundles from the Hub: the real client against a server on the loopback interface, and a cache laid out by hand."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from tests.runtime.loopback_hub import Hub
from tests.runtime.processes import run_python
from tests.runtime.small_bundle import flip_last_byte, rewrite_manifest, write_bundle

REPO = "someone/sentiment"
SHARED = ["config.json", "edgepipe.json", "tokenizer.json", "tokenizer_config.json"]
FP32 = ["onnx/model.onnx", "onnx/model.onnx_data"]
INT8 = ["onnx/model_int8.onnx", "onnx/model_int8.onnx_data"]

# Each step is a call of pipeline(); a process of its own, since huggingface_hub reads its settings when imported.
STEPS = """
import json, socket, sys, time

time.sleep = lambda seconds: None  # the client waits longer and longer before it tries again
connect = socket.socket.connect
def guarded(self, address):
    assert self.family == socket.AF_UNIX or address[0] == "127.0.0.1", f"traffic to {address}"
    return connect(self, address)
socket.socket.connect = guarded

from edgepipe import EdgepipeError, pipeline
for step in json.loads(sys.argv[1]):
    try:
        classify = pipeline(**step)
        said = {"result": classify("a b c"), "dtype": classify.model.dtype}
    except EdgepipeError as error:
        said = {"error": type(error).__name__, "message": str(error)}
    print(json.dumps(said))
"""


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = write_bundle(tmp_path / "source", ("fp32", "int8"))
    (folder / "README.md").write_text("not needed to run")
    (folder / "pytorch_model.bin").write_bytes(b"not needed either")
    return folder


@pytest.fixture
def hub(source: Path) -> Iterator[Hub]:
    hub = Hub()
    hub.add(REPO, source)
    with hub.serving():
        yield hub


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


def environment(hub_url: str, home: Path) -> dict[str, str]:
    return {"HF_ENDPOINT": hub_url, "HF_HOME": str(home), "HF_HUB_OFFLINE": "0", "NO_PROXY": "*", "HF_TOKEN": ""}


def steps(hub_url: str, home: Path, *calls: dict[str, Any]) -> list[dict[str, Any]]:
    said = run_python(STEPS, json.dumps(calls), env=environment(hub_url, home))
    return [json.loads(line) for line in said.splitlines()]


def reported(hub_url: str, home: Path, output: Path) -> dict[str, Any]:
    """The JSON beside the page that ``edgepipe report`` writes of the bundle."""
    env = environment(hub_url, home)
    run_python("import sys; from edgepipe_export import report; report(*sys.argv[1:])", REPO, str(output), env=env)
    return dict(json.loads(output.with_suffix(".json").read_text(encoding="utf-8")))


def here(source: Path, dtype: str) -> Any:
    from edgepipe import pipeline

    return pipeline(model=source, dtype=dtype)("a b c")


def cached(home: Path, commit: str) -> Path:
    return home / "hub" / f"models--{REPO.replace('/', '--')}" / "snapshots" / commit


def test_only_the_files_of_the_wanted_variant_come(hub: Hub, home: Path, source: Path) -> None:
    (first,) = steps(hub.url, home, {"model": REPO})
    assert first == {"result": here(source, "fp32"), "dtype": "fp32"}
    assert hub.downloaded() == sorted(SHARED + FP32)

    hub.requests.clear()
    (again,) = steps(hub.url, home, {"model": REPO})
    assert again == first
    assert hub.downloaded() == [], "the cache has everything"

    (other,) = steps(hub.url, home, {"model": REPO, "dtype": "int8"})
    assert other == {"result": here(source, "int8"), "dtype": "int8"}
    assert hub.downloaded() == INT8


def test_the_variant_for_a_gpu_comes_where_one_is_asked_for(tmp_path: Path, home: Path) -> None:
    program = """
        import sys
        from edgepipe import Bundle
        from edgepipe.backend.session import SessionConfig
        from edgepipe.models.variants import preferred_variants

        print(*Bundle.load(sys.argv[1], preferred=preferred_variants(SessionConfig(device="cuda"))).dtypes)
    """
    hub = Hub()
    hub.add(REPO, write_bundle(tmp_path / "source", ("int8", "fp16")))
    with hub.serving():
        assert run_python(program, REPO, env=environment(hub.url, home)).split() == ["fp16"]
    assert hub.downloaded() == sorted([*SHARED, "onnx/model_fp16.onnx", "onnx/model_fp16.onnx_data"])


def test_the_variant_for_a_processor_comes_where_the_default_fails_on_it(tmp_path: Path, home: Path) -> None:
    program = """
        import sys, warnings
        from edgepipe.backend import machine
        machine.cpu_flags = lambda: frozenset({"avx2"})
        machine.platform.machine = lambda: "x86_64"
        from edgepipe import pipeline

        for local in (False, True):
            with warnings.catch_warnings(record=True) as said:
                print(pipeline(model=sys.argv[1], local_files_only=local).model.dtype, len(said), said[0].message)
    """
    source = write_bundle(tmp_path / "source", ("int8", "q4", "w8"))
    record = json.loads((source / "edgepipe.json").read_text()) | {"target": "arm64"}
    passed = {"reference": "fp32", "texts": 1, "max_abs_diff": {}, "max_score_diff": None, "label_agreement": None}
    for variant in record["variants"].values():
        variant["parity"] = {**passed, "bound": "", "passed": True}
    record["variants"]["int8"]["recipe"]["reduce_range"] = False
    rewrite_manifest(source, record)
    hub = Hub()
    hub.add(REPO, source)
    with hub.serving():
        online, offline = run_python(program, REPO, env=environment(hub.url, home)).splitlines()
        assert online == offline
        assert online.startswith(f"w8 1 {REPO}: int8, the bundle's default, fails on this processor: ")
        assert hub.downloaded() == sorted([*SHARED, "onnx/model_w8.onnx", "onnx/model_w8.onnx_data"])


def test_without_a_network_the_default_that_the_cache_has_is_taken(hub: Hub, home: Path) -> None:
    program = """
        import sys
        from edgepipe import Bundle

        for local, name in ((False, "fp32"), (True, "int8"), (False, "int8")):
            print(*Bundle.load(sys.argv[1], choose=lambda manifest: name, local_files_only=local).dtypes)
    """
    said = run_python(program, REPO, env=environment(hub.url, home)).splitlines()
    assert said == ["fp32", "fp32", "fp32 int8"]


def test_a_directory_needs_no_client_and_a_hub_id_says_that_it_is_missing(source: Path) -> None:
    program = """
        import sys
        from edgepipe import pipeline
        from edgepipe.errors import DependencyError
        print(pipeline(model=sys.argv[1])("a b c")[0]["label"])
        try:
            pipeline(model="someone/sentiment")
        except DependencyError as error:
            print(error)
    """
    label, said = run_python(program, str(source), blocked=("huggingface_hub",)).splitlines()
    assert label == here(source, "fp32")[0]["label"]
    assert said.startswith("no directory 'someone/sentiment' is here")
    assert said.endswith("pip install huggingface_hub")


# What opens a bundle for a device, in the words of whoever calls it.
OPENERS = {
    "pipeline": "from edgepipe import pipeline; pipeline('text-classification', repo, **options)",
    "Model": "from edgepipe import Model; Model.from_pretrained(repo, **options)",
    "bench": "from edgepipe.benchmarking.benchmark import bench; bench(repo, **options)",
}
OPEN = """
import json, sys
from edgepipe import EdgepipeError
repo = sys.argv[1]
for options in json.loads(sys.argv[2]):
    try:
        {opener}
    except EdgepipeError as error:
        print(type(error).__name__, error)
"""


@pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(), reason="the installed onnxruntime has CUDA"
)
@pytest.mark.parametrize("opener", OPENERS)
def test_nothing_is_downloaded_for_a_device_that_is_not_there(hub: Hub, home: Path, opener: str) -> None:
    program = OPEN.format(opener=OPENERS[opener])
    asked = [{"device": "cuda"}, {"device": 1}, {"providers": ["CUDAExecutionProvider"]}]
    lines = run_python(program, REPO, json.dumps(asked), env=environment(hub.url, home)).splitlines()
    assert len(lines) == len(asked)
    assert all(re.match(r"DeviceError .*onnxruntime.* has no '?CUDA", line) for line in lines)
    assert hub.requests == []


def test_nothing_is_downloaded_where_onnxruntime_is_missing(hub: Hub, home: Path) -> None:
    program = OPEN.format(opener=OPENERS["pipeline"])
    said = run_python(program, REPO, "[{}]", blocked=("onnxruntime",), env=environment(hub.url, home))
    assert said.startswith("DependencyError onnxruntime cannot be imported")
    assert hub.requests == []


def test_without_the_network(source: Path, home: Path) -> None:
    hub = Hub()
    hub.add(REPO, source)
    with hub.serving():
        (online,) = steps(hub.url, home, {"model": REPO})
    seen = len(hub.requests)
    offline, forbidden, not_cached, unknown = steps(
        hub.url,
        home,
        {"model": REPO},
        {"model": REPO, "local_files_only": True},
        {"model": REPO, "local_files_only": True, "dtype": "int8"},
        {"model": "someone/else", "local_files_only": True},
    )
    assert online == offline == forbidden
    assert not_cached["error"] == "DownloadError"
    assert unknown["error"] == "DownloadError"
    assert "local_files_only" in not_cached["message"]
    assert "'someone/else'" in unknown["message"]
    (unreachable,) = steps(hub.url, home, {"model": "someone/else"})
    assert unreachable["error"] == "DownloadError"
    assert "the Hub cannot be reached" in unreachable["message"]
    assert len(hub.requests) == seen


def test_a_hub_that_does_not_answer_is_asked_once(home: Path) -> None:
    hub = Hub()
    with hub.serving():
        pass
    code = """
import sys, time

def wait(seconds):
    raise AssertionError("it waits before it asks again")
time.sleep = wait

from edgepipe import EdgepipeError, pipeline
try:
    pipeline(model="someone/else")
except EdgepipeError as error:
    print(type(error).__name__, error)
"""
    said = run_python(code, env=environment(hub.url, home))
    assert said.startswith("DownloadError ")
    assert "the Hub cannot be reached" in said


@pytest.mark.parametrize("name", ["./a/b", "../b", "/a/b", "~/b", "a/b/c", "a\\b", "a/"])
def test_what_looks_like_a_path_asks_nothing(hub: Hub, home: Path, name: str) -> None:
    (said,) = steps(hub.url, home, {"model": name})
    assert said["error"] == "BundleError"
    assert said["message"].startswith(f"{name} does not exist")
    assert hub.requests == []


def test_a_network_that_the_environment_forbids(hub: Hub, home: Path) -> None:
    program = OPEN.format(opener=OPENERS["pipeline"])
    said = run_python(program, REPO, "[{}]", env=environment(hub.url, home) | {"HF_HUB_OFFLINE": "1"})
    assert said.startswith("DownloadError ")
    assert "(or HF_HUB_OFFLINE) forbids the network" in said
    assert hub.requests == []


@pytest.mark.parametrize("name", ["some..one/name", "some--one/name", "someone/name.", "someone/name.git"])
def test_a_name_that_no_repository_can_have(hub: Hub, home: Path, name: str) -> None:
    (said,) = steps(hub.url, home, {"model": name})
    assert said["error"] == "BundleError"
    assert said["message"].startswith(f"{name} does not exist, and is not a Hub id (owner/name) either: ")
    assert hub.requests == []


def test_local_files_only_asks_nothing(hub: Hub, home: Path) -> None:
    (nothing,) = steps(hub.url, home, {"model": REPO, "local_files_only": True})
    assert nothing["error"] == "DownloadError"
    assert hub.requests == []
    (online,) = steps(hub.url, home, {"model": REPO})
    hub.requests.clear()
    assert steps(hub.url, home, {"model": REPO, "local_files_only": True}) == [online]
    assert hub.requests == []


def test_a_cache_laid_out_by_hand(source: Path, home: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    shutil.copytree(source, cached(home, commit))
    refs = cached(home, commit).parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text(commit)
    nowhere = "http://127.0.0.1:9"
    by_branch, by_commit, no_tag = steps(
        nowhere,
        home,
        {"model": REPO, "local_files_only": True},
        {"model": REPO, "revision": commit, "dtype": "int8"},
        {"model": REPO, "revision": "v1", "local_files_only": True},
    )
    assert by_branch == {"result": here(source, "fp32"), "dtype": "fp32"}
    assert by_commit == {"result": here(source, "int8"), "dtype": "int8"}
    assert no_tag["error"] == "DownloadError"


def test_revisions(hub: Hub, home: Path, source: Path, tmp_path: Path) -> None:
    newer = write_bundle(tmp_path / "newer", ("int8",))
    old = hub.repositories[REPO]["main"][0]
    hub.add(REPO, source, "v1", "refs/pr/1")
    hub.add(REPO, newer, "main")
    main, tag, pinned, unknown = steps(
        hub.url,
        home,
        {"model": REPO},
        {"model": REPO, "revision": "v1"},
        {"model": REPO, "revision": old},
        {"model": REPO, "revision": "v2"},
    )
    assert main == {"result": here(newer, "int8"), "dtype": "int8"}
    assert tag == pinned == {"result": here(source, "fp32"), "dtype": "fp32"}
    assert unknown["error"] == "DownloadError"
    assert f"{REPO} has no such revision" in unknown["message"]


def test_what_is_not_there(hub: Hub, home: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "config.json").write_text("{}")
    hub.add("someone/plain", plain)
    no_repository, no_variant, no_bundle = steps(
        hub.url, home, {"model": "someone/nothing"}, {"model": REPO, "dtype": "int4"}, {"model": "someone/plain"}
    )
    assert no_repository["error"] == "DownloadError"
    assert "neither a directory nor a Hub repository 'someone/nothing'" in no_repository["message"]
    assert no_variant == {
        "error": "VariantError",
        "message": f"{REPO} has no variant 'int4'; it has fp32, int8",
    }
    assert no_bundle["error"] == "DownloadError"
    assert "not an edgepipe bundle" in no_bundle["message"]
    assert hub.downloaded() == ["edgepipe.json"], "the variant was looked up before anything else was downloaded"


def test_a_connection_that_breaks_after_the_first_answer(hub: Hub, home: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    (plain / "config.json").write_text("{}")
    hub.add("someone/plain", plain)
    hub.hangs_up = "/api/models/someone/plain"
    (answer,) = steps(hub.url, home, {"model": "someone/plain"})
    assert answer["error"] == "DownloadError"
    assert answer["message"].startswith("someone/plain could not be downloaded: ")


def test_a_file_that_the_manifest_lists_and_the_repository_lacks(hub: Hub, home: Path, source: Path) -> None:
    (source / FP32[1]).unlink()
    (answer,) = steps(hub.url, home, {"model": REPO})
    assert answer["error"] == "DownloadError"
    assert f"{REPO} has no {FP32[1]}" in answer["message"]


@pytest.mark.parametrize("name", ["onnx/model.onnx_data", "tokenizer.json"])
def test_an_altered_file_does_not_stay_in_the_cache(hub: Hub, home: Path, source: Path, name: str) -> None:
    right = (source / name).read_bytes()
    flip_last_byte(source / name)
    first, second = steps(hub.url, home, {"model": REPO}, {"model": REPO})
    assert first["error"] == second["error"] == "BundleError"
    assert f"{REPO}/{name} does not have the sha256" in first["message"]
    commit = hub.repositories[REPO]["main"][0]
    assert not (cached(home, commit) / name).exists()
    assert hub.downloaded().count(name) == 2, "the second try downloads it again"
    (source / name).write_bytes(right)
    (mended,) = steps(hub.url, home, {"model": REPO})
    assert mended["dtype"] == "fp32"


def test_a_truncated_file_in_the_cache_is_downloaded_again(hub: Hub, home: Path) -> None:
    (right,) = steps(hub.url, home, {"model": REPO})
    weights = cached(home, hub.repositories[REPO]["main"][0]) / FP32[1]
    weights.resolve().write_bytes(weights.read_bytes()[:-1])
    hub.requests.clear()
    assert steps(hub.url, home, {"model": REPO}) == [right]
    assert hub.downloaded() == [FP32[1]]


def test_a_download_goes_on_where_it_broke_off(hub: Hub, home: Path, source: Path) -> None:
    weights = source / FP32[1]
    with weights.open("ab") as file:  # the client writes 10 MiB at once, and loses what it has not written
        file.truncate(42 << 20)
    record = json.loads((source / "edgepipe.json").read_text())
    for listed in record["variants"]["fp32"]["files"]:
        if listed["path"] == FP32[1]:
            listed |= {"bytes": 42 << 20, "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}
    rewrite_manifest(source, record)
    hub.breaks_off = FP32[1]
    (answer,) = steps(hub.url, home, {"model": REPO})
    assert answer["result"] == here(source, "fp32")
    assert hub.ranges == [f"bytes={20 << 20}-"]


def test_what_arrives_altered_is_found_without_a_manifest(hub: Hub, home: Path, source: Path) -> None:
    (source / "edgepipe.json").unlink()
    right = hashlib.sha256((source / FP32[1]).read_bytes()).hexdigest()
    hub.etags[FP32[1]] = right
    flip_last_byte(source / FP32[1])
    (answer,) = steps(hub.url, home, {"model": REPO, "dtype": "fp32"})
    assert answer["error"] == "DownloadError"
    assert f"{REPO}/{FP32[1]} did not arrive whole" in answer["message"]
    flip_last_byte(source / FP32[1])
    (mended,) = steps(hub.url, home, {"model": REPO, "dtype": "fp32"})
    assert mended["dtype"] == "fp32"


def test_a_cache_that_cannot_be_written(hub: Hub, home: Path) -> None:
    (home / "hub").parent.mkdir(parents=True)
    (home / "hub").symlink_to("/proc/1/cwd/nothing" if sys.platform == "linux" else "/dev/null/nothing")
    (answer,) = steps(hub.url, home, {"model": REPO})
    assert answer["error"] == "DownloadError"
    assert str(home / "hub") in answer["message"]


def test_a_manifest_cannot_reach_outside_of_the_cache(hub: Hub, home: Path, source: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    manifest = json.loads((source / "edgepipe.json").read_text())
    for path in (str(precious), "../../../../../precious"):
        manifest["files"][0]["path"] = path
        rewrite_manifest(source, manifest)
        (answer,) = steps(hub.url, home, {"model": REPO})
        assert answer["error"] == "BundleError"
        assert precious.read_text() == "mine"
        shutil.rmtree(home)


@pytest.mark.parametrize("name", ["a/b/c", "a//b", "-a/b", "a b", "a/b\n", "a/../b"])
def test_what_is_no_hub_id_asks_nothing(name: str, hub: Hub, home: Path) -> None:
    (answer,) = steps(hub.url, home, {"model": name})
    assert answer["error"] == "BundleError"
    assert hub.requests == []


# Repositories that other tools made: no manifest.

FOREIGN = Path(__file__).parents[2] / "data" / "foreign"
BESIDE = ["config.json", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json"]


@pytest.mark.parametrize(
    ("name", "folder"), [("transformersjs-text-classification", "onnx/"), ("optimum-text-classification", "")]
)
def test_of_a_foreign_repository_only_the_wanted_variant_comes(
    name: str, folder: str, home: Path, tmp_path: Path
) -> None:
    source = tmp_path / "foreign"
    shutil.copytree(FOREIGN / name, source)
    (source / "pytorch_model.bin").write_bytes(b"not needed")
    hub = Hub()
    hub.add(REPO, source)
    with hub.serving():
        (first,) = steps(hub.url, home, {"model": REPO})
        assert first == {"result": here(source, "fp32"), "dtype": "fp32"}
        assert hub.downloaded() == sorted([*BESIDE, f"{folder}model.onnx"])
        hub.requests.clear()
        (other, missing) = steps(hub.url, home, {"model": REPO, "dtype": "q8"}, {"model": REPO, "dtype": "int8"})
        assert other == {"result": here(source, "q8"), "dtype": "q8"}
        assert hub.downloaded() == [f"{folder}model_quantized.onnx"]
        assert missing == {"error": "VariantError", "message": f"{REPO} has no variant 'int8'; it has fp32, q8"}
    offline, not_cached = steps(
        hub.url, home, {"model": REPO}, {"model": REPO, "dtype": "int8", "local_files_only": True}
    )
    assert offline == first
    assert not_cached["error"] == "DownloadError"


def test_a_report_brings_what_was_measured(hub: Hub, home: Path, source: Path, tmp_path: Path) -> None:
    assert reported(hub.url, home, tmp_path / "short.html")["calibration"] is None
    measured = {"schema_version": 1, "calibration": {"origin": "dev.tsv"}, "variants": {}}
    (source / "edgepipe_report.json").write_text(json.dumps(measured))
    hub.add(REPO, source)
    assert reported(hub.url, home, tmp_path / "report.html")["calibration"] == {"origin": "dev.tsv"}
    hub.requests.clear()
    steps(hub.url, tmp_path / "another home", {"model": REPO})
    assert "edgepipe_report.json" not in hub.downloaded()
