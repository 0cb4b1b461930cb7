"""OpenVINO's own best files of a checkpoint, as optimum-intel writes them: ``CHECKPOINT TEXTS FOLDER``.

``FOLDER/openvino-fp32`` and ``FOLDER/openvino-int8``, which NNCF quantizes with activations on the calibration texts.
It runs in the environment of optimum-intel.
"""

import sys
from pathlib import Path

from datasets import Dataset
from optimum.intel import OVConfig, OVModelForSequenceClassification, OVQuantizationConfig, OVQuantizer
from transformers import AutoTokenizer

# What its guide quantizes text classification with.
_LONGEST = 128

checkpoint, texts_file, folder = sys.argv[1:]
texts = Path(texts_file).read_text(encoding="utf-8").splitlines()
tokenizer = AutoTokenizer.from_pretrained(checkpoint)
model = OVModelForSequenceClassification.from_pretrained(checkpoint, export=True, compile=False)
model.save_pretrained(f"{folder}/openvino-fp32")
OVQuantizer.from_pretrained(model).quantize(
    ov_config=OVConfig(quantization_config=OVQuantizationConfig(num_samples=len(texts))),
    calibration_dataset=Dataset.from_list(
        [dict(tokenizer(text, truncation=True, max_length=_LONGEST)) for text in texts]
    ),
    save_directory=f"{folder}/openvino-int8",
)
