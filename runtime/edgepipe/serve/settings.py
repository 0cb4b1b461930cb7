"""What a server is started with, and what it takes of its clients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgepipe.errors import InputError
from edgepipe.serve.call import RefusedError


@dataclass(frozen=True, slots=True)
class Limits:
    """The most that a client gets. What is beyond it is refused before it costs anything.

    Attributes:
        body: Bytes of a request's body.
        texts: Inputs of one request.
        tokens: Tokens of one request, all of its inputs together; new ones that it asks for count too.
        queue: Tokens that wait. Beyond them a request is told to come again later.
        choices: Texts that a request may have written for one prompt (``n``, ``num_return_sequences``).
        rows: Texts that are written at once; others wait.
        prefix_bytes: What prompts that were read may take in the memory of a process, for each model, so that those
            which begin alike go on from there. 0 for none.
        kv_cache_memory_bytes: What keys and values of texts that are written at once may take, for each model and
            process; others wait. None for what is free.
        seconds: How long a request may take, from its first byte to its answer. None for as long as it takes.
        read: Seconds that a client may take to send its request, or to take a part of its answer.
    """

    body: int = 8 << 20
    texts: int = 1024
    tokens: int = 65_536
    queue: int = 262_144
    choices: int = 16
    rows: int = 32
    prefix_bytes: int = 256 << 20
    kv_cache_memory_bytes: int | None = None
    seconds: float | None = 600.0
    read: float = 30.0

    def check_texts(self, count: int) -> None:
        """Check the number of a request's inputs.

        Raises:
            RefusedError: there are too many.
        """
        if count > self.texts:
            raise RefusedError(413, f"{count} inputs are more than the {self.texts} of a request; send several")

    def check_tokens(self, tokens: int) -> None:
        """Check the tokens of all of a request's inputs.

        Raises:
            RefusedError: there are too many.
        """
        if tokens > self.tokens:
            raise RefusedError(413, f"{tokens} tokens are more than the {self.tokens} of a request; send several")

    def check_written_tokens(self, tokens: int) -> None:
        """Check the tokens of a request's prompts, and those that are to be written, together.

        Raises:
            RefusedError: there are too many.
        """
        if tokens > self.tokens:
            raise RefusedError(413, f"{tokens} tokens, new ones included, are more than the {self.tokens} of a request")


@dataclass(frozen=True, slots=True)
class ServedBundle:
    """A bundle that is to be served.

    Attributes:
        name: By which requests ask for it.
        path: Directory or Hub id.
    """

    name: str
    path: str


@dataclass(frozen=True, slots=True)
class ServeSettings:
    """How a server is started.

    Attributes:
        bundles: What it serves. The first one answers routes that name no model.
        session: Arguments of :func:`edgepipe.pipeline`: ``dtype``, ``device``, ``num_threads``, ``task`` and others.
        limits: What clients get.
        keys: Keys of which a request must have one; none where everybody may ask.
        origins: Web pages' origins whose scripts may ask; none without.
        log_format: ``"json"`` or ``"text"``.
    """

    bundles: tuple[ServedBundle, ...]
    session: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    keys: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    log_format: str = "json"


def name_bundles(arguments: tuple[str, ...]) -> tuple[ServedBundle, ...]:
    """Bundles from ``NAME=PATH`` or ``PATH``, whose name is that of its folder.

    Raises:
        InputError: two have one name.
    """
    found: dict[str, ServedBundle] = {}
    for argument in arguments:
        name, _, path = argument.partition("=")
        if not path or "/" in name:
            name, path = Path(argument).resolve().name, argument
        if name in found:
            raise InputError(f"two bundles are called {name!r}: give one another name, e.g. other={path}")
        found[name] = ServedBundle(name, path)
    return tuple(found.values())
