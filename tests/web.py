"""A real HTTP server on this machine, whose faults a test can choose: it answers as archives do on bad days."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Answer:
    """What is sent for one request."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    """Content-Length, if not the truth."""
    cut_after: int | None = None
    """Bytes of the body after which the connection is closed."""


@dataclass
class Asked:
    """One request as it came."""

    path: str
    headers: Message


class Web:
    """Serves ``files``; the answers in ``instead`` come first, one for each request of a path."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"
        self.files: dict[str, bytes] = {}
        self.headers: dict[str, dict[str, str]] = {}
        self.instead: dict[str, list[Answer]] = {}
        self.asked: list[Asked] = []
        self.sent: list[int] = []
        """Bytes of the body of each answer."""
        self.busiest = 0
        """Most answers at once of which something was still to be sent."""
        self._busy = 0
        self._counting = threading.Lock()
        self.has_ranges = True
        self.has_etags = True
        self.block_bytes = 1 << 20
        self.pause_seconds = 0.0

    def url(self, path: str) -> str:
        return f"{self.base}{path}"

    def redirect(self, path: str, to: str, status: int = 302, times: int = 1) -> None:
        self.instead.setdefault(path, []).extend([Answer(status=status, headers={"Location": to})] * times)

    def fail(self, path: str, status: int, times: int = 1, **headers: str) -> None:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        self.instead.setdefault(path, []).extend([Answer(b"no", status, named)] * times)

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Count an answer while some of it is still to be sent."""
        with self._counting:
            self._busy += 1
            self.busiest = max(self.busiest, self._busy)
        try:
            yield
        finally:
            with self._counting:
                self._busy -= 1

    def cut(self, path: str, after: int, times: int = 1) -> None:
        """Close the connection after so many bytes of what is asked for."""
        self.instead.setdefault(path, []).extend([Answer(cut_after=after)] * times)

    def answer(self, path: str, headers: Message) -> Answer:
        waiting = self.instead.get(path, [])
        given = waiting.pop(0) if waiting else Answer()
        if given.status != 200 or given.body:
            return given
        if path not in self.files:
            return Answer(b"nothing here", 404)
        made = self._whole_or_part(path, headers)
        made.headers |= self.headers.get(path, {}) | given.headers
        made.cut_after, made.length = given.cut_after, given.length
        return made

    def _whole_or_part(self, path: str, headers: Message) -> Answer:
        content = self.files[path]
        own = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
        etag = self.headers.get(path, {}).get("ETag", own)
        marks = {"ETag": etag} if self.has_etags else {}
        asked = re.fullmatch(r"bytes=(\d+)-", headers.get("Range", ""))
        if not asked or not self.has_ranges or headers.get("If-Range", etag) != etag:
            return Answer(content, 200, marks)
        start = int(asked[1])
        if start >= len(content):
            return Answer(b"", 416, {"Content-Range": f"bytes */{len(content)}"})
        place = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return Answer(content[start:], 206, {**marks, "Content-Range": place})


def _handler(web: Callable[[], Web]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served = web()
            served.asked.append(Asked(self.path, self.headers))
            answer = served.answer(self.path, self.headers)
            length = len(answer.body) if answer.length is None else answer.length
            self.send_response(answer.status)
            for key, value in {"Content-Length": str(length), **answer.headers}.items():
                self.send_header(key, value)
            self.end_headers()
            index = len(served.sent)
            served.sent.append(0)
            body = answer.body[: answer.cut_after]
            blocks = [body[start : start + served.block_bytes] for start in range(0, len(body), served.block_bytes)]

            def send(block: bytes) -> None:
                served.sent[index] += len(block)  # before the other side can have it
                self.wfile.write(block)
                time.sleep(served.pause_seconds)

            try:
                with served.counted():
                    for block in blocks[:-1]:
                        send(block)
                for block in blocks[-1:]:  # with it the other side is done, and may ask for more
                    send(block)
            except ConnectionError:
                self.close_connection = True  # the other side was killed

        def log_message(self, format: str, *args: object) -> None:
            """Keep the output of the tests quiet."""

    return Handler


@contextmanager
def serving() -> Iterator[Web]:
    """Serve until the end of the block."""
    made: list[Web] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(lambda: made[0]))
    made.append(Web(server.server_address[1]))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield made[0]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
