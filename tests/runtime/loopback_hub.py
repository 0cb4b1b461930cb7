"""The few endpoints of the Hugging Face Hub that downloading a bundle needs, on the loopback interface.

Followed here: ``huggingface_hub``'s own client code (file metadata by HEAD with ``ETag`` and ``X-Repo-Commit``; the
repository's info and tree under ``/api/models``; errors told apart by ``X-Error-Code``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit


@dataclass
class Hub:
    """Repositories by id, each with its commits by revision name, and what was asked for.

    Attributes:
        repositories: id -> {revision (branch, tag or commit) -> (commit, folder)}.
        requests: ``"GET /path"`` in order.
        url: Where it listens; empty until it does.
        hangs_up: Beginning of the paths where it closes the connection without an answer.
        breaks_off: End of the path of a file of which it sends half and closes the connection, once.
        ranges: The ``Range`` of each request that had one.
        etags: ETag by the end of a file's path, for files that the Hub keeps by their sha256.
    """

    repositories: dict[str, dict[str, tuple[str, Path]]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    url: str = ""
    hangs_up: str | None = None
    breaks_off: str | None = None
    ranges: list[str] = field(default_factory=list)
    etags: dict[str, str] = field(default_factory=dict)

    def add(self, repo_id: str, folder: Path, *names: str) -> str:
        """Publish a folder as a commit that `names` point to (by default main); returns the commit."""
        digest = hashlib.sha1(repo_id.encode())
        for path in sorted(folder.rglob("*")):
            digest.update(path.read_bytes() if path.is_file() else b"")
        commit = digest.hexdigest()
        revisions = self.repositories.setdefault(repo_id, {})
        for name in (commit, *(names or ("main",))):
            revisions[name] = (commit, folder)
        return commit

    def downloaded(self) -> list[str]:
        """The files whose content was asked for, sorted."""
        return sorted(line.split("/", 5)[5] for line in self.requests if line.startswith("GET") and "/resolve/" in line)

    @contextmanager
    def serving(self) -> Iterator[Hub]:
        """Answer requests while the context lasts."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        if self.hub.hangs_up is not None and path.startswith(self.hub.hangs_up):
            self.close_connection = True
            return
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            self._api("/".join(parts[2:4]), parts[4], parts[5])
        elif len(parts) > 4 and parts[2] == "resolve":
            self._file("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self._fail("EntryNotFound")

    do_HEAD = do_GET  # noqa: N815

    def _revision(self, repo_id: str, revision: str) -> tuple[str, Path] | None:
        if repo_id not in self.hub.repositories:
            self._fail("RepoNotFound", 401)  # as the Hub does: it does not say whether there is a private one
            return None
        found = self.hub.repositories[repo_id].get(revision)
        if found is None:
            self._fail("RevisionNotFound")
        return found

    def _api(self, repo_id: str, what: str, revision: str) -> None:
        found = self._revision(repo_id, revision)
        if found is None:
            return
        commit, folder = found
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        if what == "tree":
            tree = [
                {
                    "type": "file",
                    "path": path.relative_to(folder).as_posix(),
                    "size": path.stat().st_size,
                    "oid": _etag(path),
                }
                for path in files
            ]
            self._send(json.dumps(tree).encode(), "application/json")
        else:
            siblings = [{"rfilename": path.relative_to(folder).as_posix()} for path in files]
            self._send(json.dumps({"id": repo_id, "sha": commit, "siblings": siblings}).encode(), "application/json")

    def _file(self, repo_id: str, revision: str, name: str) -> None:
        found = self._revision(repo_id, revision)
        if found is None:
            return
        commit, folder = found
        path = folder / name
        if not path.is_file():
            self._fail("EntryNotFound", commit=commit)
            return
        content, status = path.read_bytes(), 200
        headers = {"ETag": f'"{self.hub.etags.get(name, _etag(path))}"', "X-Repo-Commit": commit}
        asked = self.headers.get("Range")
        if asked is not None and self.command == "GET":
            self.hub.ranges.append(asked)
            begin, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
            content = content[begin:]
        if self.command == "GET" and self.hub.breaks_off is not None and name.endswith(self.hub.breaks_off):
            self.hub.breaks_off = None
            self.close_connection = True
            self.send_response(status)
            for key, value in ({"Content-Length": str(len(content))} | headers).items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            return
        self._send(content, "application/octet-stream", status, **headers)

    def _fail(self, code: str, status: int = 404, commit: str | None = None) -> None:
        headers = {"X-Error-Code": code, "X-Error-Message": code} | ({"X-Repo-Commit": commit} if commit else {})
        self._send(b"", "text/plain", status=status, **headers)

    def _send(self, content: bytes, kind: str, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": kind, "Content-Length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""


def _etag(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()
