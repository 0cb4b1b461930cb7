"""Write the graph of a bundle as a model of Triton's: ``python triton_repository.py BUNDLE REPOSITORY``.

Triton's onnxruntime backend runs the graph alone: token ids in, and out what the graph gives. Making token ids of a
text and labels of logits is left to the client; ``edgepipe serve`` does both.

A new version of a model is a folder with the next number. It appears at once, so a Triton that polls its repository
never reads half of one. The first line of output says which, the others what is to be known.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from edgepipe import Bundle
from edgepipe.errors import EdgepipeError

# https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto, DataType
TYPES = {
    "tensor(bool)": "TYPE_BOOL",
    "tensor(uint8)": "TYPE_UINT8",
    "tensor(int8)": "TYPE_INT8",
    "tensor(int32)": "TYPE_INT32",
    "tensor(int64)": "TYPE_INT64",
    "tensor(float16)": "TYPE_FP16",
    "tensor(float)": "TYPE_FP32",
    "tensor(double)": "TYPE_FP64",
}

# What the graph of an encoder reads.
INPUTS = ("input_ids", "attention_mask", "token_type_ids")

# How far a row in a batch may be from the row alone, as a share of the largest value: adding up in another order.
SAME = 1e-5


def main(arguments: Sequence[str]) -> None:
    """Do what the command line says.

    Raises:
        SystemExit: it could not be done; the message says why.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("bundle", type=Path, help="a bundle whose variants have one graph each, as encoders have")
    parser.add_argument("repository", type=Path, help="the folder that Triton is started with")
    parser.add_argument("--name", help="of the model  [default: the bundle's folder]")
    parser.add_argument("--dtype", help="[default: the bundle's]")
    parser.add_argument("--max-batch", type=int, default=32, help="rows of a batch  [default: %(default)s]")
    parser.add_argument("--gpu", action="store_true", help="have Triton run it on its GPUs")
    options = parser.parse_args(arguments)
    try:
        bundle = Bundle.load(options.bundle)
        write_model(
            bundle,
            options.repository / (options.name or options.bundle.resolve().name),
            options.dtype or bundle.default_dtype,
            max_batch=options.max_batch,
            gpu=options.gpu,
        )
    except (EdgepipeError, OSError) as error:
        sys.exit(f"Error: {error}")


def write_model(bundle: Bundle, target: Path, dtype: str, *, max_batch: int, gpu: bool) -> None:
    """Write a variant as the next version of a model.

    Args:
        bundle: Whose.
        target: The model's folder in the repository.
        dtype: The variant.
        max_batch: Rows of a batch, at the most.
        gpu: Whether Triton is to run it on its GPUs.

    Raises:
        EdgepipeError: there is no such variant, or it has several graphs.
        OSError: it cannot be written.
        SystemExit: Triton cannot have such a graph, or the model is there with another config.
    """
    graph = bundle.graph(dtype)
    session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    unknown = [each.name for each in session.get_inputs() if each.name not in INPUTS]
    if unknown:
        sys.exit(f"The graph reads {unknown[0]}: only encoders, which read token ids alone, can be written for Triton.")
    shares = max_batch > 1 and rows_are_independent(session)
    config = describe(target.name, graph.name, session, max_batch, shares=shares, gpu=gpu)
    config_file = target / "config.pbtxt"
    if config_file.exists() and config_file.read_text(encoding="utf-8") != config:
        sys.exit(f"{target} has another config, e.g. of another variant: give this one another --name")
    target.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=".part-", dir=target))
    try:
        for file in (file for file in bundle.files(dtype) if file.name.startswith(graph.name)):
            shutil.copyfile(file, part / file.name)
        onnxruntime.InferenceSession(part / graph.name, providers=["CPUExecutionProvider"])  # it is whole
        part.chmod(0o755)
        config_file.write_text(config, encoding="utf-8")
        version = max((int(each.name) for each in target.iterdir() if each.name.isdecimal()), default=0) + 1
        os.rename(part, target / str(version))
    finally:
        shutil.rmtree(part, ignore_errors=True)
    print(target / str(version))
    if not shares and max_batch > 1:
        print(f"Without dynamic batching: in {dtype} a row's outputs depend on its batch. Send rows one by one.")


def rows_are_independent(session: Any) -> bool:
    """Whether rows give the same alone and in a batch: dynamic 8-bit variants round by the largest of the batch."""
    generator = np.random.default_rng(0)
    rows, tokens = 4, 12
    feeds = {}
    for each in session.get_inputs():
        values = {"input_ids": generator.integers(1, 100, (rows, tokens)), "attention_mask": np.ones((rows, tokens))}
        found = values.get(each.name, np.zeros((rows, tokens)))
        feeds[each.name] = found.astype(np.int32 if each.type == "tensor(int32)" else np.int64)
    together = session.run(None, feeds)
    for row in range(rows):
        alone = session.run(None, {name: array[row : row + 1] for name, array in feeds.items()})
        for one, all_rows in zip(alone, together, strict=True):
            if np.abs(one[0] - all_rows[row]).max() > SAME * np.abs(one).max():
                return False
    return True


def describe(name: str, graph: str, session: Any, max_batch: int, *, shares: bool, gpu: bool) -> str:
    """The text of ``config.pbtxt``.

    Args:
        name: Of the model.
        graph: The graph's file.
        session: The graph, loaded: its inputs and outputs.
        max_batch: Rows of a batch, at the most.
        shares: Whether Triton may make a batch of several requests. It takes those of one length alone.
        gpu: Whether Triton is to run it on its GPUs.

    Raises:
        SystemExit: a tensor has a type that Triton has not, or its first axis is not the batch.
    """
    lines = [
        f"name: {json.dumps(name)}",
        'backend: "onnxruntime"',
        f"default_model_filename: {json.dumps(graph)}",
        f"max_batch_size: {max_batch}",
        *(line for each in session.get_inputs() for line in describe_tensor("input", each)),
        *(line for each in session.get_outputs() for line in describe_tensor("output", each)),
        f"instance_group {{ kind: {'KIND_GPU' if gpu else 'KIND_CPU'} }}",
        *(["dynamic_batching { }"] if shares else []),
    ]
    return "\n".join(lines) + "\n"


def describe_tensor(kind: str, tensor: Any) -> list[str]:
    """The lines of an input or output; the batch's axis is not named there."""
    if tensor.type not in TYPES:
        sys.exit(f"The {kind} {tensor.name} is a {tensor.type}, which Triton does not take.")
    batch, *others = tensor.shape
    if isinstance(batch, int):
        sys.exit(f"The first axis of the {kind} {tensor.name} is {batch}, expected one for the batch.")
    dims = ", ".join(str(each) if isinstance(each, int) else "-1" for each in others)
    return [
        f"{kind} {{",
        f"  name: {json.dumps(tensor.name)}",
        f"  data_type: {TYPES[tensor.type]}",
        f"  dims: [ {dims} ]",
        "}",
    ]


if __name__ == "__main__":
    main(sys.argv[1:])
