"""transformers on PyTorch, or on optimum-onnx in its own environment: the same `generate`."""

import sys

import torch
from generation_worker import serve
from transformers import AutoConfig

folder, threads, library = sys.argv[1:]
torch.set_num_threads(int(threads))
seq2seq = AutoConfig.from_pretrained(folder).is_encoder_decoder
if library == "torch":
    from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM

    model = (AutoModelForSeq2SeqLM if seq2seq else AutoModelForCausalLM).from_pretrained(folder).eval()
else:
    from onnxruntime import SessionOptions
    from optimum.onnxruntime import ORTModelForCausalLM, ORTModelForSeq2SeqLM

    options = SessionOptions()
    options.intra_op_num_threads = int(threads)
    kind = ORTModelForSeq2SeqLM if seq2seq else ORTModelForCausalLM
    model = kind.from_pretrained(folder, session_options=options, export=True)


class Notes:
    """A streamer, which gets the prompt first."""

    def __init__(self, note):
        self._puts, self._note = 0, note

    def put(self, tokens):
        if self._puts:
            self._note(tokens)
        self._puts += 1

    def end(self):
        """Nothing is left to do."""


def write(prompt, new, beams, note):
    ids = torch.tensor([prompt])
    wanted = {"max_new_tokens": new, "min_new_tokens": new, "num_beams": beams, "do_sample": False}
    if beams == 1:
        wanted["streamer"] = Notes(note)
    return model.generate(ids, attention_mask=torch.ones_like(ids), **wanted)[0, -new:].tolist()


serve(write)
