"""CTranslate2 on what its converter makes of the checkpoint."""

import json
import sys
from pathlib import Path

import ctranslate2
from generation_worker import serve

folder, threads, compute_type = sys.argv[1:]
target = Path(folder).with_name(f"ctranslate2-{compute_type}")
config = json.loads((Path(folder) / "config.json").read_text())
if not target.exists():
    converter = ctranslate2.converters.TransformersConverter(folder)
    converter.convert(str(target), quantization=None if compute_type == "float32" else compute_type)
seq2seq = config.get("is_encoder_decoder")
kind = ctranslate2.Translator if seq2seq else ctranslate2.Generator
model = kind(str(target), device="cpu", compute_type=compute_type, inter_threads=1, intra_threads=int(threads))
vocabulary = json.loads((Path(folder) / "vocab.json").read_text())
words = {number: word for word, number in vocabulary.items()}


def write(prompt, new, beams, note):
    source = [words[token] for token in prompt]
    if seq2seq:
        found = model.translate_batch([source], beam_size=beams, max_decoding_length=new, min_decoding_length=new)
        return [vocabulary[word] for word in found[0].hypotheses[0]]
    wanted = {"max_length": new, "min_length": new, "beam_size": beams, "include_prompt_in_result": False}
    if beams == 1:
        # What it gives ends the text where it is true.
        wanted["callback"] = note
    return model.generate_batch([source], sampling_topk=1, **wanted)[0].sequences_ids[0]


serve(write)
