"""A stand-in for the Hugging Face Hub: so much of its HTTP interface as its real client uses, and the content sent.

It can fail at will. Repositories have one branch; every commit gives it a new name.
"""

import base64
import hashlib
import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

import yaml

TOKENS = {"hf_writer": "write", "hf_reader": "read"}
"""Tokens of the user `ann`, and what each may do."""
LARGE = (".parquet", ".safetensors", ".arrow", ".png")
CUT = -1
"""In place of a status: the connection is closed without an answer."""


@dataclass
class Repo:
    """What a repository holds: small files as they are, large ones by digest."""

    private: bool
    files: dict[str, bytes | str] = field(default_factory=lambda: {".gitattributes": b"*.parquet filter=lfs\n"})
    commits: list[str] = field(default_factory=list)

    @property
    def sha(self) -> str:
        return hashlib.sha1(f"{len(self.commits)}".encode()).hexdigest()


@dataclass
class Fault:
    """Answers requests that fit with a status, so many times, after some that are let through."""

    pattern: str
    status: int
    times: int
    after: int
    said: str


class Hub:
    """The server; `requests` counts what it was asked, `stored` has large content by digest."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.stored: dict[str, bytes] = {}
        self.requests: Counter[str] = Counter()
        self.faults: list[Fault] = []
        self.lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Handler,), {"hub": self}))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @contextmanager
    def running(self) -> Iterator["Hub"]:
        thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def fail(self, pattern: str, status: int, times: int = 10**6, after: int = 0, said: str | None = None) -> None:
        """From now on, answer requests such as "POST /api/…/commit" with a status, or `CUT`."""
        self.faults.append(Fault(pattern, status, times, after, said or f"made to fail with {status}"))

    def fault(self, asked: str) -> Fault | None:
        """What this request comes to instead of an answer."""
        for fault in self.faults:
            if re.search(fault.pattern, asked) and fault.times:
                if fault.after:
                    fault.after -= 1
                    continue
                fault.times -= 1
                return fault
        return None

    def text(self, repo: str, path: str) -> str:
        found = self.repos[repo].files[path]
        assert isinstance(found, bytes)
        return found.decode()

    def sent(self) -> int:
        """Large files that were sent so far."""
        return sum(count for asked, count in self.requests.items() if asked.startswith("PUT /lfs/"))


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None: ...

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_PUT = do_GET

    def _answer(self) -> None:
        self.path = unquote(urlsplit(self.path).path)
        length = int(self.headers.get("Content-Length") or 0)
        content = self.rfile.read(length) if length else self._chunked()
        asked = f"{self.command} {self.path}"
        with self.hub.lock:
            self.hub.requests[asked] += 1
            fault = self.hub.fault(asked)
        if fault is not None and fault.status == CUT:
            self.close_connection = True
            self.connection.close()
            return
        if fault is not None:
            self._refuse(fault.status, fault.said)
            return
        with self.hub.lock:
            self._route(content)

    def _chunked(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return b""
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _route(self, content: bytes) -> None:
        if stored := re.fullmatch(r"/lfs/(\w+)", self.path):  # of another host, signed: no token
            assert hashlib.sha256(content).hexdigest() == stored[1], "what arrives is what was announced"
            self.hub.stored[stored[1]] = content
            self._json({})
            return
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if given not in TOKENS:
            self._refuse(401, "Invalid username or password.")
            return
        self.writes = TOKENS[given] == "write"
        if self.path == "/api/repos/create":
            self._create(json.loads(content))
        elif self.path == "/api/validate-yaml":
            self._validate(json.loads(content))
        elif found := re.fullmatch(r"/(?:api/)?(?:(datasets|models)/)?([^/]+/[^/]+?)(?:\.git)?(/.*)?", self.path):
            kind = found[1] or "models"
            repo = self.hub.repos.get(f"{kind}/{found[2]}")
            if repo is None:
                self._refuse(404, "Repository not found", **{"X-Error-Code": "RepoNotFound"})
            else:
                self._in_repo(repo, f"{kind}/{found[2]}", found[3] or "", content)

    def _create(self, asked: dict[str, Any]) -> None:
        name = f"{asked['type']}s/{asked['organization']}/{asked['name']}"
        url = {"url": f"{self.hub.url}/{name.removeprefix('models/')}"}
        if name in self.hub.repos:
            self._json(url | {"error": f"You already created this {asked['type']} repo"}, 409)
        elif not self.writes or asked["organization"] != "ann":
            self._refuse(403, "You don't have the rights to create a repository under the namespace")
        else:
            self.hub.repos[name] = Repo(asked.get("visibility") == "private" or bool(asked.get("private")))
            self._json(url)

    def _validate(self, asked: dict[str, Any]) -> None:
        metadata = yaml.safe_load(asked["content"].split("---\n")[1])
        licenses = {None, "unknown", "mit", "apache-2.0", "cc-by-4.0"}
        if metadata.get("license") not in licenses:
            said = {"errors": [{"message": '"license" must be one of [apache-2.0, …]'}], "warnings": []}
            self._json(said, 400)
        else:
            self._json({"errors": [], "warnings": []})

    def _in_repo(self, repo: Repo, name: str, rest: str, content: bytes) -> None:
        if rest == "/auth-check/write":
            writes = self.writes and "/ann/" in name
            self._json({}) if writes else self._refuse(403, "Forbidden: you must use a write token")
        elif rest.startswith("/preupload/"):
            self._json({"files": [self._mode(repo, file) for file in json.loads(content)["files"]]})
        elif rest == "/info/lfs/objects/batch":
            self._json({"objects": [self._object(one) for one in json.loads(content)["objects"]]})
        elif rest.startswith("/commit/"):
            self._commit(repo, name, [json.loads(line) for line in content.splitlines()])
        elif rest.startswith("/tree/"):
            self._list(repo, rest.split("/", 3)[3] if rest.count("/") > 2 else "")
        elif rest.startswith("/paths-info/"):
            asked = json.loads(content)["paths"] if content.startswith(b"{") else []
            self._json([one for one in self._tree(repo) if one["path"] in asked])
        elif rest.startswith("/resolve/"):
            self._resolve(repo, rest.split("/", 3)[3])
        elif rest in ("", "/revision/main") or rest.startswith("/revision/"):
            siblings = [{"rfilename": path} for path in repo.files]
            self._json({"id": name.split("/", 1)[1], "sha": repo.sha, "private": repo.private, "siblings": siblings})
        else:
            self._refuse(404, "not there", **{"X-Error-Code": "EntryNotFound"})

    def _mode(self, repo: Repo, file: dict[str, Any]) -> dict[str, Any]:
        held = repo.files.get(file["path"])
        oid = held if isinstance(held, str) else _blob(held) if held is not None else None
        mode = "lfs" if file["path"].endswith(LARGE) else "regular"
        return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid}

    def _object(self, one: dict[str, Any]) -> dict[str, Any]:
        if one["oid"] in self.hub.stored:
            return one
        return one | {"actions": {"upload": {"href": f"{self.hub.url}/lfs/{one['oid']}", "header": {}}}}

    def _commit(self, repo: Repo, name: str, lines: list[dict[str, Any]]) -> None:
        if not self.writes:
            self._refuse(403, "Forbidden: you must use a write token")
            return
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                repo.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                assert value["oid"] in self.hub.stored, "content comes before the commit"
                repo.files[value["path"]] = value["oid"]
            elif line["key"] == "deletedFile":
                del repo.files[value["path"]]
            else:
                assert line["key"] == "header"
                repo.commits.append(value["summary"])
        url = f"{self.hub.url}/{name.removeprefix('models/')}/commit/{repo.sha}"
        self._json({"success": True, "commitOid": repo.sha, "commitUrl": url})

    def _list(self, repo: Repo, folder: str) -> None:
        found = [one for one in self._tree(repo) if one["path"].startswith(f"{folder}/" if folder else "")]
        self._json(found) if found or not folder else self._refuse(404, "", **{"X-Error-Code": "EntryNotFound"})

    def _tree(self, repo: Repo) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = []
        folders = {path.rsplit("/", depth)[0] for path in repo.files for depth in range(1, path.count("/") + 1)}
        entries += [{"type": "directory", "path": path, "size": 0, "oid": _blob(path.encode())} for path in folders]
        for path, held in repo.files.items():
            if isinstance(held, bytes):
                entries.append({"type": "file", "path": path, "size": len(held), "oid": _blob(held)})
                continue
            size = len(self.hub.stored[held])
            lfs = {"oid": held, "size": size, "pointerSize": 130}
            entries.append({"type": "file", "path": path, "size": size, "oid": _blob(held.encode()), "lfs": lfs})
        return entries

    def _resolve(self, repo: Repo, path: str) -> None:
        held = repo.files.get(path)
        if held is None:
            self._refuse(404, "Entry not found", **{"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repo.sha})
            return
        content = held if isinstance(held, bytes) else self.hub.stored[held]
        tag = _blob(held) if isinstance(held, bytes) else held
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first, last = (int(asked[1]), int(asked[2] or len(content) - 1)) if asked else (0, len(content) - 1)
        part = content[first : last + 1]
        self.send_response(206 if asked else 200)
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.send_header("ETag", f'"{tag}"')
        self.send_header("X-Repo-Commit", repo.sha)
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(part)

    def _json(self, value: Any, status: int = 200, **headers: str) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        for name, said in {"Content-Type": "application/json", "Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, said)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _refuse(self, status: int, said: str, **headers: str) -> None:
        self._json({"error": said}, status, **{"X-Error-Message": ascii(said)[1:-1], **headers})


def _blob(content: bytes) -> str:
    """The name that git gives to a file."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
