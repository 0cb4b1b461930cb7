"""transformers on PyTorch, eager or compiled, or on optimum-onnx's CUDA sessions in its own environment."""

import torch
from cuda_work import TEXT, ids, parse_arguments, serve
from transformers import AutoConfig, AutoTokenizer, pipeline

folder, work, options = parse_arguments()
device = options["device"]
config = AutoConfig.from_pretrained(folder)
names = {"encoder": "SequenceClassification", "text": "SequenceClassification"}
kind = names.get(work.kind) or ("Seq2SeqLM" if config.is_encoder_decoder else "CausalLM")
if options["library"] == "optimum":
    from optimum import onnxruntime as library

    provider = "CPUExecutionProvider" if device == "cpu" else "CUDAExecutionProvider"
    model = getattr(library, f"ORTModelFor{kind}").from_pretrained(folder, export=True, provider=provider)
    make_pipeline = library.pipeline
else:
    import transformers

    dtype = torch.float32 if options["dtype"] == "fp32" else torch.float16
    model = getattr(transformers, f"AutoModelFor{kind}").from_pretrained(folder, dtype=dtype).to(device).eval()
    make_pipeline = pipeline
    if options["compiled"]:
        model.forward = torch.compile(model.forward, mode="reduce-overhead", fullgraph=work.kind != "text")

tokens = torch.tensor(ids(work, config.vocab_size))
if work.kind == "encoder":

    def run():
        with torch.inference_mode():
            fed = tokens.to(device)
            return model(input_ids=fed, attention_mask=torch.ones_like(fed)).logits.cpu()

elif work.kind == "text":
    where = {} if options["library"] == "optimum" else {"device": device}
    classify = make_pipeline(
        "text-classification", model=model, tokenizer=AutoTokenizer.from_pretrained(folder), **where
    )

    def run():
        return classify(TEXT)

else:
    static = {"cache_implementation": "static"} if options["compiled"] else {}

    def run():
        with torch.inference_mode():
            fed = tokens.to(device)
            mask = torch.ones_like(fed)
            return model.generate(fed, attention_mask=mask, max_new_tokens=work.new, do_sample=False, **static).tolist()


for _ in range(options["warm"]):
    run()
serve(run)
