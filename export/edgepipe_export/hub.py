"""Checkpoints from the Hugging Face Hub: config, tokenizer and safetensors of one commit, nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from edgepipe.errors import CheckpointError, DownloadError

_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")

# Files of the repository's root that are no weights but may be read: config, vocabularies, chat templates.
_SMALL = re.compile(r"[^/]+\.(json|txt|model|jinja)|README\.md")
_SAFETENSORS = re.compile(r"model[^/]*\.safetensors")
_PICKLE = re.compile(r"pytorch_model[^/]*\.bin")
# The layers of sentence-transformers, each in a directory of its own.
_MODULE = re.compile(r"\d+_\w+/(config\.json|model\.safetensors)")
_PICKLED_MODULE = re.compile(r"\d+_\w+/pytorch_model\.bin")
_CODE = re.compile(r".+\.py")


def is_repo_id(text: str) -> bool:
    """Whether a text can be a Hub id, ``owner/name`` or ``name``."""
    return _REPO_ID.fullmatch(text) is not None


def fetch_checkpoint(
    repo_id: str, revision: str | None = None, *, allow_pickle: bool = False, remote_code: bool = False
) -> tuple[Path, str]:
    """Download what an export reads; without a network, take it from the Hub's cache.

    Args:
        repo_id: ``owner/name``.
        revision: Branch, tag or commit; by default the main branch.
        allow_pickle: Whether to take pickled weights where there are no safetensors.
        remote_code: Whether to download the repository's Python files.

    Returns:
        The snapshot's directory and its commit.

    Raises:
        CheckpointError: the repository has no weights that may be loaded.
        DownloadError: the repository, revision or network is not there, and the cache has nothing.
    """
    from huggingface_hub import HfApi, errors, snapshot_download

    try:
        info = HfApi().model_info(repo_id, revision=revision)
        names = [file.rfilename for file in info.siblings or []]
        wanted = wanted_files(repo_id, names, allow_pickle=allow_pickle, remote_code=remote_code)
        path = snapshot_download(repo_id, revision=info.sha, allow_patterns=wanted)
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise DownloadError(
            f"there is neither a directory nor a Hub repository {_called(repo_id, revision)} (or it is private: set "
            "HF_TOKEN)"
        ) from error
    except (errors.HfHubHTTPError, errors.OfflineModeIsEnabled, OSError) as unreachable:
        try:
            path = snapshot_download(repo_id, revision=revision, local_files_only=True)
        except (errors.LocalEntryNotFoundError, OSError):
            raise DownloadError(
                f"no directory {repo_id!r} is there, the Hub did not answer "
                f"({_first_line(unreachable)}), and its cache does not have {_called(repo_id, revision)}"
            ) from unreachable
    directory = Path(path)
    return directory, directory.name  # the cache names a snapshot by its commit


def wanted_files(repo_id: str, names: Iterable[str], *, allow_pickle: bool, remote_code: bool) -> list[str]:
    """Those of a repository's files that an export reads.

    Raises:
        CheckpointError: none of them are weights that may be loaded.
    """
    names = sorted(names)
    weights = [name for name in names if _SAFETENSORS.fullmatch(name)]
    pickles = [name for name in names if _PICKLE.fullmatch(name)]
    if not weights and pickles and not allow_pickle:
        raise CheckpointError(
            f"{repo_id} has no safetensors, only pickled weights ({', '.join(pickles)}), and unpickling runs whatever "
            "code their author put in; if you trust them pass allow_pickle=True (--allow-pickle)"
        )
    if not weights and not pickles:
        raise CheckpointError(f"{repo_id} has no weights: there is no model.safetensors in it")
    rest = [
        name
        for name in names
        if _SMALL.fullmatch(name)
        or _MODULE.fullmatch(name)
        or (allow_pickle and _PICKLED_MODULE.fullmatch(name))
        or (remote_code and _CODE.fullmatch(name))
    ]
    return rest + (weights or pickles)


def _called(repo_id: str, revision: str | None) -> str:
    return repr(repo_id) if revision is None else f"{repo_id!r} at revision {revision!r}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
