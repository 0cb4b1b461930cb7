"""Our int8-static on OpenVINO beside NNCF's int8, from the same fp32 graph and calibration texts.

    python benchmarks/int8_openvino.py prepare CHECKPOINT CALIBRATION HELD_OUT FOLDER --nncf-python PYTHON
    python benchmarks/int8_openvino.py agree FOLDER
    python benchmarks/int8_openvino.py time FOLDER

CALIBRATION and HELD_OUT have a text a line. `prepare` writes FOLDER/bundle (fp32, bf16 and int8-static by
``--target openvino``), FOLDER/nncf, and FOLDER/held-out.npz with PyTorch's logits. `agree` prints how far each is from
PyTorch; `time` how long each takes, all in this process and in alternating rounds. Without a text in HELD_OUT there is
nothing to agree on: for random weights, whose speed is that of any others.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from turns import ROUNDS, format_medians, measure_medians

from edgepipe import Bundle
from edgepipe.backend.session import Session, SessionConfig
from edgepipe.backend.threads import available_threads
from edgepipe.models.variants import load_graph

Arrays = Mapping[str, NDArray[Any]]
Run = Callable[[Arrays], NDArray[np.float32]]

HERE = Path(__file__).parent
SHAPES = ((1, 16), (1, 128), (1, 512), (8, 128), (32, 128))


def main() -> None:
    arguments = _arguments()
    if arguments.command == "prepare":
        prepare(
            arguments.checkpoint, arguments.calibration, arguments.held_out, arguments.folder, arguments.nncf_python
        )
    elif arguments.command == "agree":
        agree(arguments.folder, arguments.threads)
    else:
        time_shapes(arguments.folder, arguments.threads, arguments.rounds)


def prepare(checkpoint: Path, calibration: Path, held_out: Path, folder: Path, nncf_python: str) -> None:
    """Write what is compared."""
    folder.mkdir(parents=True, exist_ok=True)
    import torch
    import transformers

    from edgepipe_export import export

    config = transformers.AutoConfig.from_pretrained(checkpoint)
    model = getattr(transformers, config.architectures[0]).from_pretrained(checkpoint).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)

    def encode(file: Path) -> list[dict[str, Any]]:
        texts = file.read_text(encoding="utf-8").splitlines()
        return [dict(tokenizer(text, truncation=True, return_tensors="np")) for text in texts]

    texts = encode(held_out)
    bundle = export(
        str(checkpoint),
        folder / "bundle",
        dtypes=("fp32", "bf16", "int8-static"),
        target="openvino",
        calibration=calibration,
        verify=bool(texts),
    )
    with torch.inference_mode():
        logits = [model(**{name: torch.tensor(array) for name, array in each.items()}).logits.numpy() for each in texts]
    kept = [{**each, "logits": own} for each, own in zip(texts, logits, strict=True)]
    for name, encodings in (("calibration", encode(calibration)), ("held-out", kept)):
        arrays = {f"{number}.{key}": each[key] for number, each in enumerate(encodings) for key in each}
        np.savez(folder / f"{name}.npz", **arrays)
    graph, out = bundle.graph("fp32"), folder / "nncf" / "model.xml"
    script = [nncf_python, str(HERE / "nncf_quantize.py"), str(graph), str(folder / "calibration.npz"), str(out)]
    subprocess.run(script, check=True)


def contenders(folder: Path, threads: int) -> dict[str, Run]:
    """What runs a batch, by name; NNCF's in OpenVINO's own default precision, and in fp32 where it is not quantized."""
    import openvino

    config = SessionConfig("openvino", num_threads=threads)
    bundle = Bundle.load(folder / "bundle")
    runs: dict[str, Run] = {}
    for dtype in bundle.measured_dtypes:
        runs[f"edgepipe {dtype}"] = partial(_run, load_graph(bundle, dtype, config))
    core, path = openvino.Core(), str(folder / "nncf" / "model.xml")
    for name, hint in (("NNCF int8", {}), ("NNCF int8, rest in fp32", {"INFERENCE_PRECISION_HINT": "f32"})):
        compiled = core.compile_model(path, "CPU", {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, **hint})
        runs[name] = partial(_infer, compiled.create_infer_request())
    return runs


def _run(session: Session, arrays: Arrays) -> NDArray[np.float32]:
    return next(iter(session.run({name: arrays[name] for name in session.inputs}).values()))


def _infer(request: Any, arrays: Arrays) -> NDArray[np.float32]:
    names = [port.get_any_name() for port in request.model_inputs]
    found: NDArray[np.float32] = request.infer({name: arrays[name] for name in names}).to_tuple()[0]
    return found


def agree(folder: Path, threads: int) -> None:
    """Print the largest and the mean difference of a logit from PyTorch's, and how many labels are the same."""
    texts: dict[str, dict[str, NDArray[Any]]] = {}
    with np.load(folder / "held-out.npz") as arrays:
        for key in arrays:
            number, _, name = key.partition(".")
            texts.setdefault(number, {})[name] = arrays[key]
    for name, run in contenders(folder, threads).items():
        pairs = [(run(each), each["logits"]) for each in texts.values()]
        differences = np.concatenate([np.abs(found - expected).ravel() for found, expected in pairs])
        same = np.concatenate([(found.argmax(-1) == expected.argmax(-1)).ravel() for found, expected in pairs])
        print(
            f"{name}: largest difference {differences.max():.3f}, mean {differences.mean():.4f}, "
            f"same label {same.sum()} of {same.size} ({100 * same.mean():.2f} %)"
        )


def time_shapes(folder: Path, threads: int, rounds: int) -> None:
    """Print the median time of each shape, and its ratio to NNCF's."""
    runs = contenders(folder, threads)
    for rows, length in SHAPES:
        ids = np.random.default_rng(0).integers(1000, 20000, (rows, length))
        batch = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        calls = 5 if rows * length <= 128 else 1
        found = measure_medians({name: partial(run, batch) for name, run in runs.items()}, rounds, calls)
        print(f"{rows} x {length}: {format_medians(found, 'NNCF int8', 'ms', 1e3, 2)}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    write = commands.add_parser("prepare")
    for name in ("checkpoint", "calibration", "held_out"):
        write.add_argument(name, type=Path)
    write.add_argument("folder", type=Path)
    write.add_argument(
        "--nncf-python", default=sys.executable, help="an interpreter that has nncf  [default: this one]"
    )
    for command in ("agree", "time"):
        read = commands.add_parser(command)
        read.add_argument("folder", type=Path)
        read.add_argument("--threads", type=int, default=available_threads())
        read.add_argument("--rounds", type=int, default=ROUNDS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
