"""A small HTTP service around a pipeline: ``uvicorn app:app``.

The environment says what it serves: BUNDLE, a directory or Hub id (by default the model that comes with edgepipe), and
DTYPE, the variant (by default the bundle's).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from anyio import to_thread
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel, Field

from edgepipe import pipeline
from edgepipe.errors import InputError

MOST_TEXTS = 64
MOST_CHARACTERS = 20_000


class Texts(BaseModel):
    """What is sent to ``/classify``."""

    texts: list[Annotated[str, Field(max_length=MOST_CHARACTERS)]] = Field(min_length=1, max_length=MOST_TEXTS)


class Label(BaseModel):
    """The best label of a text."""

    label: str
    score: float


class Service(BaseModel):
    """What is served."""

    bundle: str
    dtype: str
    labels: list[str]


@asynccontextmanager
async def load(app: FastAPI) -> AsyncIterator[None]:
    """Load the bundle before the first request; without it the service does not start."""
    named = os.environ.get("BUNDLE")
    # A link may be set to a newer bundle while this process runs: all files come from one.
    bundle = Path(named).resolve() if named and Path(named).exists() else named
    app.state.classify = pipeline("text-classification", bundle, dtype=os.environ.get("DTYPE"))
    # One request computes at a time, on all cores; the others wait for their turn.
    to_thread.current_default_thread_limiter().total_tokens = 1
    yield


app = FastAPI(title="Text classification", lifespan=load)


@app.post("/classify")
def classify(sent: Texts, request: Request) -> list[Label]:
    """The best label of each text, in their order."""
    try:
        results: list[dict[str, Any]] = request.app.state.classify(sent.texts, batch_size=16)
    except InputError as error:
        raise HTTPException(422, str(error)) from error
    return [Label(**result) for result in results]


@app.get("/health")
async def health(request: Request) -> Service:
    """What is served; an answer means that it is loaded."""
    run = request.app.state.classify
    labels = list(run.model.config.id2label.values())
    return Service(bundle=run.model.directory.name, dtype=run.model.dtype, labels=labels)
