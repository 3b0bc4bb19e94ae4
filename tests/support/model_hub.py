"""A stand-in for the Hugging Face hub on loopback, which serves folders as repositories."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class ModelHub:
    """What is served, and what was asked for."""

    repositories: dict[str, Path]
    token: str = ""
    """Where set, requests must carry it."""
    broken: str = ""
    """A file that is listed and cannot be read."""
    status: int = 200
    """Of every answer, where it is not 200."""
    held: threading.Event | None = None
    """Where set, weights are sent to their half, and on when it is set."""
    url: str = ""
    requests: list[str] = field(default_factory=list)
    half_sent: threading.Event = field(default_factory=threading.Event)


@contextmanager
def serve_models(repositories: dict[str, Path]) -> Iterator[ModelHub]:
    hub = ModelHub(repositories)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            hub.requests.append(f"{self.command} {path}")
            authorized = self.headers.get("authorization") == f"Bearer {hub.token}"
            if hub.status != 200:
                self.answer(b"{}", status=hub.status)
            elif hub.token and not authorized:
                code = {"X-Error-Code": "GatedRepo", "X-Error-Message": "gated"}
                self.answer(b"{}", code, status=401)
            elif path.startswith("/api/") and not path.startswith("/api/models/"):
                self.answer(b"{}", status=404)
            elif path.startswith("/api/models/"):
                self.api(path.removeprefix("/api/models/"))
            else:
                self.file(path)

        def api(self, path: str) -> None:
            owner, name, kind, *_ = [*path.split("/"), "", "", ""]
            folder = hub.repositories.get(f"{owner}/{name}")
            if folder is None:
                self.answer(b"{}", {"X-Error-Code": "RepoNotFound"}, status=404)
                return
            files = [f for f in sorted(folder.rglob("*")) if f.is_file()]
            sizes = {str(f.relative_to(folder)): f.stat().st_size for f in files}
            if kind == "tree":
                listed: object = [
                    {"type": "file", "path": n, "size": s, "oid": "0" * 40}
                    for n, s in sizes.items()
                ]
            else:
                siblings = [{"rfilename": n, "size": s} for n, s in sizes.items()]
                listed = {"id": f"{owner}/{name}", "sha": COMMIT, "siblings": siblings}
            self.answer(json.dumps(listed).encode(), {"Content-Type": "application/json"})

        def file(self, path: str) -> None:
            owner, name, _, _, *rest = path.strip("/").split("/")
            folder = hub.repositories.get(f"{owner}/{name}")
            if folder is None:
                self.answer(b"{}", {"X-Error-Code": "RepoNotFound"}, status=404)
                return
            file = folder / "/".join(rest)
            if not file.is_file():
                missing = {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}
                self.answer(b"{}", missing, status=404)
                return
            data = file.read_bytes()
            headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": COMMIT}
            if file.name == hub.broken and self.command == "GET":
                self.answer(b"{}", status=500)
                return
            held = hub.held is not None and file.suffix == ".safetensors"
            self.answer(data, headers, held=held)

        def answer(
            self,
            data: bytes,
            headers: dict[str, str] | None = None,
            *,
            status: int = 200,
            held: bool = False,
        ) -> None:
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command == "HEAD":
                return
            try:
                if held and hub.held is not None:
                    self.wfile.write(data[: len(data) // 2])
                    self.wfile.flush()
                    data = data[len(data) // 2 :]
                    hub.half_sent.set()
                    hub.held.wait(60)
                self.wfile.write(data)
            except OSError:
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        if hub.held is not None:
            hub.held.set()
        server.shutdown()
        server.server_close()
        thread.join()
