"""The fifteen lines of a user's own server: FastAPI around a pipeline, whose calls run in its pool of threads.

Environment: LIBRARY is ``edgepipe`` or ``transformers``, MODEL a bundle or a checkpoint, TASK the pipeline's, DTYPE the
variant of a bundle.
"""

from __future__ import annotations

import os
from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel


class Body(BaseModel):
    inputs: str


if os.environ["LIBRARY"] == "edgepipe":
    from edgepipe import pipeline as make

    model: Any = make(os.environ["TASK"], os.environ["MODEL"], dtype=os.environ["DTYPE"])
    run = model.embed if os.environ["TASK"] == "feature-extraction" else model
else:
    import torch
    import transformers

    torch.set_num_threads(int(os.environ["THREADS"]))
    if os.environ["TASK"] == "feature-extraction":
        from sentence_transformers import SentenceTransformer

        run = SentenceTransformer(os.environ["MODEL"], device="cpu").encode
    else:
        run = transformers.pipeline(os.environ["TASK"], os.environ["MODEL"])

app = FastAPI()


@app.post("/predict")
def predict(body: Body) -> Any:
    result = run(body.inputs)
    return result.tolist() if hasattr(result, "tolist") else result
