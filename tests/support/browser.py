"""A page in headless Chromium, and what it finds out."""

import json
import queue
import shutil
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)
# The page stays as it is; a page around it waits for its `report` and sends it here.
_AROUND = """<!doctype html><iframe src="/page" allow="autoplay" width="780" height="560"></iframe>
<script>
onload = async () => {
  let found;
  try { found = await document.querySelector("iframe").contentWindow.report; }
  catch (error) { found = { error: String(error) }; }
  fetch("/report", { method: "POST", body: JSON.stringify(found) });
};
</script>"""


def report(page: str, profile: Path, *, patience: float = 800) -> dict[str, Any]:
    """What the promise `window.report` of an HTML page gives in Chromium.

    `profile` is an empty folder for Chromium's files, `patience` in seconds.
    """
    reports: queue.Queue[dict[str, Any]] = queue.Queue()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(page.encode(), reports)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        command = [CHROMIUM, *_FLAGS, f"--user-data-dir={profile}"]
        address = f"http://127.0.0.1:{server.server_port}/"
        with (profile / "log").open("wb") as log:
            process = subprocess.Popen([*command, address], stdout=log, stderr=log)
        try:
            return reports.get(timeout=patience)
        except queue.Empty:
            said = (profile / "log").read_text(errors="replace")
            raise AssertionError(f"Chromium did not report:\n{said}") from None
        finally:
            process.terminate()
            process.wait()
            server.shutdown()


def _handler(page: bytes, reports: queue.Queue[dict[str, Any]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            contents = {"/": _AROUND.encode(), "/page": page}
            content = contents.get(self.path)
            self.send_response(200 if content else 404)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(204)
            self.end_headers()
            reports.put(json.loads(body))

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler
