"""A million calls from several threads, a million one after another, bundles loaded and closed: ``make soak``.

A call is one ``pipeline(text)`` with one text, from Python to its result; nothing is batched. The models are written by
hand and tiny, so that a call is mostly edgepipe, tokenizers and onnxruntime's own work. Each result is compared with
that of one call in one thread, made before. Memory, threads and open files are read from ``/proc``.
"""
