"""A million calls from several threads, a million one after another, bundles loaded and closed: ``make soak``.

What is counted is texts with their results. A pipeline is called with one text, or with a list of up to 32, alone or in
batches. The models are written by hand and tiny, so that the work is mostly that of edgepipe, tokenizers and
onnxruntime themselves. Each result must equal, to the last bit, that of the same call in one thread before. Memory,
threads and open files are read from ``/proc``.
"""
