"""A site that models are downloaded from, on this machine: as Hugging Face and as ModelScope."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from urllib.parse import parse_qs, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Site:
    """What it has, how it misbehaves, and what was asked of it."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}  # by OWNER/REPO/FILE
        self.cuts: list[int] = []  # of the next answers only so many bytes come
        self.stall = False  # a cut answer stays open
        self.sha256: str | None = None  # told in place of the true one
        self.size: int | None = None
        self.sent: list[str] = []  # the Range of each request for content, "" for none
        self.released = Event()  # lets stalled answers end
        self.url = ""

    def told(self, name: str) -> tuple[int, str]:
        """The size and hash that are told of a file."""
        content = self.files[name]
        return self.size or len(content), self.sha256 or hashlib.sha256(content).hexdigest()


@contextmanager
def model_site() -> Iterator[Site]:
    site = Site()

    class Handler(_Handler):
        pass

    Handler.site = site
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield site
    finally:
        site.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        if parts.path.startswith("/api/v1/models/"):
            self._modelscope(parts.path.split("/")[4:], parse_qs(parts.query))
        elif parts.path.startswith("/content/"):
            self._content(parts.path.removeprefix("/content/"))
        else:
            self._resolve(parts.path.strip("/").split("/"))

    def log_message(self, *_: object) -> None:
        pass

    def _resolve(self, path: list[str]) -> None:
        """As Hugging Face does for large files: what it is, and where the content lies."""
        name = "/".join([*path[:2], *path[4:]])
        if path[2:4] != ["resolve", "main"] or name not in self.site.files:
            known = any(each.startswith("/".join(path[:2]) + "/") for each in self.site.files)
            code = "EntryNotFound" if known else "RepoNotFound"
            self._answer(404, b"", {"X-Error-Code": code, "X-Repo-Commit": COMMIT})
            return
        size, sha256 = self.site.told(name)
        headers = {"X-Linked-Size": str(size), "X-Linked-Etag": f'"{sha256}"'}
        # On another host, as the hub's: redirects on its own are followed.
        elsewhere = self.site.url.replace("127.0.0.1", "localhost")
        headers |= {"X-Repo-Commit": COMMIT, "Location": f"{elsewhere}/content/{name}"}
        self._answer(302, b"", headers)

    def _modelscope(self, path: list[str], query: dict[str, list[str]]) -> None:
        repo = "/".join(path[:2])
        if path[2:] == ["repo", "files"]:
            names = [name for name in self.site.files if name.startswith(f"{repo}/")]
            entries = []
            for name in names:
                size, sha256 = self.site.told(name)
                file = name.removeprefix(f"{repo}/")
                entries.append({"Path": file, "Size": size, "Sha256": sha256, "Type": "blob"})
            listing = json.dumps({"Code": 200, "Data": {"Files": entries}}).encode()
            self._answer(200 if names else 404, listing, {"Content-Type": "application/json"})
        else:
            assert query["Revision"] == ["master"]
            self._content(f"{repo}/{query['FilePath'][0]}")

    def _content(self, name: str) -> None:
        content, asked = self.site.files[name], self.headers.get("Range", "")
        self.site.sent.append(asked)
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        part = content[start:]
        cut = self.site.cuts.pop(0) if self.site.cuts else len(part)
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(part)))
        if asked:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        self.wfile.write(part[:cut])
        if cut < len(part):
            self.wfile.flush()
            if self.site.stall:
                self.site.released.wait()
            self.close_connection = True

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
