"""The environments of those who write, and the files that they read, made where they are not there."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from benchmarks.environments import llama_python, make, run
from benchmarks.peers.files import PEERS_FOLDER, ROOT, peers_python
from benchmarks.peers.sections import HERE, LLAMA, PEERS, Contender
from benchmarks.peers.writing.weights_read import count_checkpoint, count_gguf, count_onnx, count_openvino
from benchmarks.peers.writing.writers import BUNDLE, OPENVINO_BUNDLE, OURS, choose

from edgepipe import Bundle

WRITE_GGUF = Path(__file__).with_name("write_gguf.py")
WORKERS = ROOT / "benchmarks" / "generation" / "workers"
# What the environment of the peers does not have yet.
PACKAGES = {
    "generate_openvino.py": ["openvino-genai==2026.4.1.0"],
    # Its model builder asks for the second, and does not say so.
    "generate_genai.py": ["onnxruntime-genai==0.18.0", "onnx-ir==1.1.0"],
}

Interpreters = dict[str, Path | None]


def writer_python(one: Contender, given: Interpreters) -> Path:
    """The interpreter that a contender runs in, set up where it is not there yet.

    Args:
        one: The contender.
        given: Interpreters to take, by environment.

    Raises:
        SystemExit: it could not be set up.
    """
    if found := given.get(one.environment):
        return found
    if one.environment == LLAMA:
        return llama_python()
    if one.environment == PEERS:
        python = peers_python()
        return make(PEERS_FOLDER, PACKAGES[one.engine]) if one.engine in PACKAGES else python
    assert one.environment == HERE
    return Path(sys.executable)


def writer_command(one: Contender, folder: Path, threads: int, given: Interpreters) -> list[str]:
    """How a contender is started on the files of a model."""
    options = [str(folder / one.path), str(threads), one.option]
    return [str(writer_python(one, given)), str(WORKERS / one.engine), *options]


def make_file(one: Contender, folder: Path, given: Interpreters) -> None:
    """Write what a contender reads and what is not there, from ``checkpoint`` in the folder of a model.

    Raises:
        SystemExit: it could not be written. Nothing is left of it.
    """
    output = folder / one.path
    if output.exists():
        return
    checkpoint = str(folder / "checkpoint")
    if one.environment == LLAMA:
        command = [str(WRITE_GGUF), checkpoint, str(output), one.option]
    elif one.engine == "generate_openvino.py":
        command = ["-m", "optimum.commands.optimum_cli", "export", "openvino", "--model", checkpoint]
        command += ["--task", "text-generation-with-past", "--weight-format", one.path.rpartition("-")[2], str(output)]
    elif one.path == OPENVINO_BUNDLE:
        dtypes = ",".join(each.option.partition("@")[0] for each in choose(folder.name, OURS) if each.path == one.path)
        command = ["-m", "edgepipe", "export", checkpoint, str(output), "--target", "openvino", "--dtype", dtypes]
        command.append("--no-verify")
    else:
        assert one.engine == "generate_genai.py"
        command = ["-m", "onnxruntime_genai.models.builder", "-i", checkpoint, "-o", str(output)]
        command += ["-p", "int4", "-e", "cpu", "-c", str(folder / "genai-cache")]
    print(f"making {output}", file=sys.stderr, flush=True)
    try:
        run([str(writer_python(one, given)), *command], ROOT)
    except SystemExit:
        if output.is_dir():
            shutil.rmtree(output)
        output.unlink(missing_ok=True)
        raise


def bytes_read(one: Contender, folder: Path) -> int:
    """The bytes of weights that a contender reads for a new token."""
    if one.path in (BUNDLE, OPENVINO_BUNDLE):
        return count_onnx(Bundle.load(folder / one.path).graph(one.option.partition("@")[0]))
    if one.environment == LLAMA:
        return count_gguf(folder / one.path)
    if one.engine == "generate_openvino.py":
        return count_openvino(folder / one.path / "openvino_model.xml")
    if one.engine == "generate_genai.py":
        return count_onnx(folder / one.path / "model.onnx")
    return count_checkpoint(folder / one.path, 1 if one.option == "int8" else 4)
