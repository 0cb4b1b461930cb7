"""Bundles from the Hugging Face Hub, through ``huggingface_hub`` and its cache.

Only the files of the wanted variant are downloaded, all at one commit; what the cache has is not downloaded again,
and with everything cached no network is needed.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from edgepipe.bundle.integrity import read_text, sha256
from edgepipe.bundle.layout import (
    GRAPH_FOLDERS,
    GRAPH_NAMES,
    MANIFEST_NAME,
    REPORT_NAME,
    SUFFIXES,
    first_of,
    graph_file,
)
from edgepipe.bundle.manifest import FileEntry, Manifest
from edgepipe.errors import BundleError, DependencyError, DownloadError, EdgepipeError, VariantError, first_line

# What a graph needs beside it, in a repository without a manifest: config, tokenizer, sentence-transformers' modules.
_BESIDE_A_GRAPH = re.compile(
    r"config\.json|tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|modules\.json"
    r"|config_sentence_transformers\.json|sentence_\w+_config\.json|\d+_\w+/[^/]+"
)

_SHA256 = re.compile(r"[0-9a-f]{64}")
# What the system says where a cache cannot be written.
_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)

_REPO_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[\w.-]+)?")


def is_repo_id(text: str) -> bool:
    """Whether a text can be a Hub id, ``owner/name`` or ``name``."""
    return _REPO_ID.fullmatch(text) is not None


def require_client(repo_id: str) -> None:
    """Check that the Hub's client is there, which a device that runs bundles from directories does without.

    Raises:
        DependencyError: it is missing.
    """
    try:
        import huggingface_hub  # noqa: F401
    except ImportError as error:
        raise DependencyError(
            f"no directory {repo_id!r} is here, and to look for it on the Hub huggingface_hub is missing ({error}): "
            "check the path, copy the bundle to this machine, or pip install huggingface_hub"
        ) from error


def is_reachable() -> bool:
    """Whether the Hub answers, whatever it says; asked once.

    The downloads of ``huggingface_hub`` try five times over 23 s where nobody answers, and have no option for it.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=constants.HF_HUB_ETAG_TIMEOUT)
    except Exception:  # noqa: BLE001 - of the HTTP library that huggingface_hub brings, another one every few versions
        return False
    return True


def cached_snapshot(repo_id: str, revision: str | None) -> Path | None:
    """The directory of a repository in the cache, if its ``config.json`` is there; other files may be missing."""
    # Not snapshot_download: it calls a snapshot incomplete that lacks files we never wanted.
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(repo_id, "config.json", revision=revision)
    return Path(config).parent if isinstance(config, str) else None


def fetch_bundle(
    repo_id: str,
    *,
    dtype: str | None = None,
    preferred: Sequence[str] = (),
    choose: Callable[[Manifest], str] | None = None,
    revision: str | None = None,
    local_files_only: bool = False,
    token: str | bool | None = None,
) -> Path:
    """Download what one variant of a bundle needs, or of a repository with graphs that another tool made.

    The arguments are those of :meth:`~edgepipe.bundle.directory.Bundle.load`.

    Returns:
        The snapshot's directory in the cache.

    Raises:
        BundleError: the name is no Hub id (and so a path that does not exist), or a file arrived altered.
        DependencyError: the Hub's client is missing.
        DownloadError: the repository cannot be reached, or is not a bundle.
        VariantError: the bundle has no such variant.
    """
    if not is_repo_id(repo_id):
        raise BundleError(f"{repo_id} does not exist, and is not a Hub id (owner/name) either")
    require_client(repo_id)
    from huggingface_hub import errors, hf_hub_download, snapshot_download
    from huggingface_hub.utils import validate_repo_id

    with hub_errors(repo_id, local_files_only):
        validate_repo_id(repo_id)
        cached_only = local_files_only or not is_reachable()
        try:
            path = Path(
                hf_hub_download(repo_id, MANIFEST_NAME, revision=revision, local_files_only=cached_only, token=token)
            )
        except errors.LocalEntryNotFoundError:  # no network: the cache may have such a repository all the same
            cached = _find_third_party(repo_id, dtype, preferred, revision)
            if cached is None:
                raise
            return cached
        except errors.EntryNotFoundError:
            fetched = _fetch_third_party(repo_id, dtype, preferred, revision, token)
            if fetched is None:
                raise
            return fetched
    manifest = Manifest.from_json(read_text(path), f"{repo_id}/{MANIFEST_NAME}")
    names = tuple(manifest.variants)
    chosen = dtype or first_of(preferred, names) or _choose_default(manifest, path.parent, choose, cached_only)
    entries = _select_files(manifest, repo_id, chosen)
    commit = path.parent.name
    missing = [entry for entry in entries if not _is_cached(path.parent / entry.path, entry, local_files_only)]
    if missing:
        with hub_errors(repo_id, local_files_only):
            snapshot_download(
                repo_id,
                revision=commit,
                allow_patterns=[entry.path for entry in entries],
                local_files_only=cached_only,
                token=token,
            )
        _check_downloaded(path.parent, missing, repo_id)
    return path.parent


def fetch_measurements(repo_id: str, folder: Path) -> None:
    """Download what was measured of a bundle into its snapshot, if the repository has that: it is not needed to run.

    Raises:
        DownloadError: the repository cannot be read any more.
    """
    from huggingface_hub import errors, hf_hub_download

    with hub_errors(repo_id, local_files_only=False), suppress(errors.EntryNotFoundError):  # not there, or no network
        hf_hub_download(repo_id, REPORT_NAME, revision=folder.name, local_files_only=not is_reachable())


def _fetch_third_party(
    repo_id: str, dtype: str | None, preferred: Sequence[str], revision: str | None, token: str | bool | None
) -> Path | None:
    """Download one variant of a repository without a manifest; None if it has no graph."""
    from huggingface_hub import model_info, snapshot_download

    info = model_info(repo_id, revision=revision or "main", token=token)
    names = [file.rfilename for file in info.siblings or ()]
    graphs = _graphs_of(names, repo_id, dtype, preferred)
    if not graphs:
        return None
    wanted = [name for name in names if name.startswith(graphs) or _BESIDE_A_GRAPH.fullmatch(name)]
    before = list_cached(repo_id, info.sha, wanted)
    folder = Path(snapshot_download(repo_id, revision=info.sha, allow_patterns=wanted, token=token))
    check_arrived(folder, set(wanted) - before, repo_id)
    return folder


def list_cached(repo_id: str, commit: str | None, names: Iterable[str]) -> set[str]:
    """Those of a commit's files that the cache has."""
    folder = None if commit is None else cached_snapshot(repo_id, commit)
    return set() if folder is None else {name for name in names if (folder / name).is_file()}


def check_arrived(folder: Path, names: Iterable[str], repo_id: str) -> None:
    """Check files that were downloaded: large ones have their sha256 as a name in the cache, as the Hub says it.

    Raises:
        DownloadError: one has another; it is removed from the cache.
    """
    for name in sorted(names):
        path = folder / name
        blob = path.resolve()
        if _SHA256.fullmatch(blob.name) and path.is_file() and sha256(path) != blob.name:
            _remove(path)
            raise DownloadError(
                f"{repo_id}/{name} did not arrive whole: it does not have the sha256 that the Hub says; the copy was "
                "removed from the cache: try again"
            )


def _find_third_party(repo_id: str, dtype: str | None, preferred: Sequence[str], revision: str | None) -> Path | None:
    """The snapshot of a repository without a manifest, if the cache has the variant."""
    folder = cached_snapshot(repo_id, revision)
    if folder is None:
        return None
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*.onnx")]
    try:
        return folder if _graphs_of(names, repo_id, dtype, preferred) else None
    except VariantError:  # not downloaded, though the repository may have it
        return None


def _graphs_of(names: list[str], repo_id: str, dtype: str | None, preferred: Sequence[str]) -> tuple[str, ...]:
    """The names of the variant's graphs among the files of a repository; none if there is no graph at all."""
    found: dict[str, tuple[str, ...]] = {}
    for variant in SUFFIXES:
        for folder in GRAPH_FOLDERS:
            paths = [f"{folder}/{graph_file(variant, name)}".removeprefix("./") for name in GRAPH_NAMES]
            if any(path in names for path in paths):
                found.setdefault(variant, tuple(path for path in paths if path in names))
    if dtype is not None and found and dtype not in found:
        raise VariantError(f"{repo_id} has no variant {dtype!r}; it has {', '.join(found)}")
    chosen = dtype or first_of((*preferred, *found), tuple(found))
    return () if chosen is None else found.get(chosen, ())


def _choose_default(
    manifest: Manifest, folder: Path, choose: Callable[[Manifest], str] | None, cached_only: bool
) -> str:
    """The variant that is wanted where none is named; the manifest's where the cache has that alone, and no network."""
    own = manifest.default_dtype
    chosen = own if choose is None else choose(manifest)
    return (
        own
        if cached_only and not _has_files(folder, manifest, chosen) and _has_files(folder, manifest, own)
        else chosen
    )


def _has_files(folder: Path, manifest: Manifest, dtype: str) -> bool:
    return all((folder / entry.path).is_file() for entry in manifest.variants[dtype].files)


def _select_files(manifest: Manifest, repo_id: str, dtype: str) -> list[FileEntry]:
    if dtype not in manifest.variants:
        raise VariantError(f"{repo_id} has no variant {dtype!r}; it has {', '.join(manifest.variants)}")
    return [*manifest.files, *manifest.variants[dtype].files]


def _is_cached(path: Path, entry: FileEntry, local_files_only: bool) -> bool:
    """Whether the cache has the file; one of another size is removed, so that it is downloaded again."""
    if not path.is_file():
        return False
    if path.stat().st_size != entry.bytes and not local_files_only:
        _remove(path)
        return False
    return True


def _remove(path: Path) -> None:
    # The blob behind the link goes too, or the next download would find it in the cache and keep it.
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def _check_downloaded(folder: Path, entries: list[FileEntry], repo_id: str) -> None:
    for entry in entries:
        path = folder / entry.path
        if not path.is_file():
            raise DownloadError(f"{repo_id} has no {entry.path}, which its manifest lists; tell its owner")
        if sha256(path) != entry.sha256:
            _remove(path)
            raise BundleError(
                f"{repo_id}/{entry.path} does not have the sha256 that its manifest says; the copy was removed from "
                "the cache: try again, and tell its owner if it stays so"
            )


@contextmanager
def hub_errors(repo_id: str, local_files_only: bool = False) -> Iterator[None]:
    """Raise what ``huggingface_hub`` and its HTTP library raise as errors of ours.

    Raises:
        BundleError: the name is no Hub id.
        DownloadError: the repository, the revision or the network is not there, or the download broke off.
    """
    from huggingface_hub import constants, errors

    try:
        yield
    except errors.HFValidationError as error:
        raise BundleError(
            f"{repo_id} does not exist, and is not a Hub id (owner/name) either: {first_line(error)}"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise DownloadError(f"{repo_id} has no such revision: {first_line(error)}") from error
    except errors.LocalEntryNotFoundError as error:
        how = (
            "local_files_only (or HF_HUB_OFFLINE) forbids the network"
            if local_files_only or constants.HF_HUB_OFFLINE
            else "the Hub cannot be reached"
        )
        raise DownloadError(
            f"no directory {repo_id!r} is there, the cache does not have that Hub repository, and {how}"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise DownloadError(
            f"there is neither a directory nor a Hub repository {repo_id!r} (or it is private: set HF_TOKEN)"
        ) from error
    except errors.EntryNotFoundError as error:
        raise DownloadError(
            f"{repo_id} has neither {MANIFEST_NAME} nor onnx/model*.onnx: it is not an edgepipe bundle; make one with: "
            f"edgepipe export {repo_id} OUT"
        ) from error
    except EdgepipeError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _UNWRITABLE:
            raise DownloadError(
                f"{repo_id} could not be downloaded: the cache in {constants.HF_HUB_CACHE} cannot be written "
                f"({error.strerror}{f': {error.filename}' if error.filename else ''}); make room or give the right to "
                "write, or set HF_HOME to another folder"
            ) from error
        # The HTTP library that huggingface_hub brings has errors of its own, and is another one every few versions.
        raise DownloadError(f"{repo_id} could not be downloaded: {first_line(error)}; try again") from error
