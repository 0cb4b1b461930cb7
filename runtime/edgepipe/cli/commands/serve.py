"""``edgepipe serve``: bundles behind HTTP, with the protocols that clients have already."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from edgepipe.cli.shared_options import complete_folder, quiet_download_option, session_options, verify_option
from edgepipe.errors import DependencyError, InputError

# The variable that may hold keys; an argument would show in the list of processes.
KEYS_VARIABLE = "EDGEPIPE_API_KEY"


@click.command()
@click.argument("bundles", nargs=-1, required=True, metavar="[NAME=]BUNDLE...", shell_complete=complete_folder)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 for any that is free.")
@click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes.")
@click.option("--task", help="[default: each bundle's]")
@verify_option
@click.option(
    "--api-key",
    "key_file",
    type=click.Path(path_type=Path),
    help=f"File of keys, one a line, of which a request must have one. Or the variable {KEYS_VARIABLE}.",
)
@click.option("--allow-origin", "origins", multiple=True, help="Origin of web pages whose scripts may ask.")
@click.option("--certificate", type=click.Path(path_type=Path), help="TLS certificate, PEM.")
@click.option("--key", type=click.Path(path_type=Path), help="Its private key, PEM.")
@click.option("--max-body", type=click.IntRange(min=1), help="Bytes of a request's body.  [default: 8388608]")
@click.option("--max-texts", type=click.IntRange(min=1), help="Inputs of a request.  [default: 1024]")
@click.option("--max-tokens", type=click.IntRange(min=1), help="Tokens of a request, new ones too.  [default: 65536]")
@click.option("--max-queue", type=click.IntRange(min=1), help="Tokens that may wait.  [default: 262144]")
@click.option("--max-choices", type=click.IntRange(min=1), help="Texts written for one prompt.  [default: 16]")
@click.option("--max-rows", type=click.IntRange(min=1), help="Texts written at once.  [default: 32]")
@click.option(
    "--prefix-bytes",
    type=click.IntRange(min=0),
    help="Memory for how prompts begin, for each model and process; 0 for none.  [default: 268435456]",
)
@click.option(
    "--kv-cache-memory-bytes",
    type=click.IntRange(min=1),
    help="Memory for keys and values of texts written at once, for each model and process.  [default: what is free]",
)
@click.option("--timeout", type=click.FloatRange(min=0, min_open=True), help="Seconds of a request.  [default: 600]")
@click.option(
    "--read-timeout",
    type=click.FloatRange(min=0, min_open=True),
    help="Seconds for a client to send its request, or to take a part of its answer.  [default: 30]",
)
@click.option(
    "--log",
    "log_format",
    type=click.Choice(("json", "text")),
    default="json",
    show_default=True,
    help="Form of the log.",
)
@quiet_download_option
@session_options
def serve(
    bundles: tuple[str, ...],
    host: str,
    port: int,
    workers: int,
    key_file: Path | None,
    origins: tuple[str, ...],
    certificate: Path | None,
    key: Path | None,
    log_format: str,
    **given: Any,
) -> None:
    """Serve bundles over HTTP: Open Inference Protocol, OpenAI, text-embeddings-inference, the Hub's inference.

    BUNDLE is a directory or a Hub id, NAME what requests call it; by default that of its folder. SIGTERM answers what
    was taken and ends; SIGHUP loads the bundles again.
    """
    if (certificate is None) != (key is None):
        raise click.UsageError("--certificate and --key belong together: give both, or neither")
    try:
        from edgepipe.serve.server import serve as serve_bundles
    except ImportError as error:
        raise DependencyError(f"a server needs more packages ({error}); pip install 'edgepipe[serve]'") from error
    from edgepipe.serve.settings import Limits, ServeSettings, name_bundles

    names = {
        "max_body": "body", "max_texts": "texts", "max_tokens": "tokens", "max_queue": "queue",
        "max_choices": "choices", "max_rows": "rows", "prefix_bytes": "prefix_bytes",
        "kv_cache_memory_bytes": "kv_cache_memory_bytes", "timeout": "seconds", "read_timeout": "read",
    }  # fmt: skip
    limits = {name: value for option, name in names.items() if (value := given.pop(option)) is not None}
    settings = ServeSettings(
        name_bundles(bundles),
        {name: value for name, value in given.items() if value is not None},
        Limits(**limits),
        read_keys(key_file),
        origins,
        log_format,
    )
    tls = None if certificate is None or key is None else (certificate, key)
    status = serve_bundles(settings, host, port, workers=workers, tls=tls)
    if status:
        raise click.exceptions.Exit(status)


def read_keys(file: Path | None) -> tuple[str, ...]:
    """The keys of a file, one a line, or of the variable.

    Raises:
        InputError: the file cannot be read, or has none.
    """
    if file is None:
        return tuple(key for key in os.environ.get(KEYS_VARIABLE, "").split() if key)
    try:
        keys = tuple(file.read_text(encoding="utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read as keys ({error}); give a file with one a line") from error
    if not keys:
        raise InputError(f"{file} has no key, and everybody could ask; write one a line, or leave --api-key out")
    return keys
