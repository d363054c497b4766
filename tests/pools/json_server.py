"""A web server on this machine that gives prepared answers, and remembers what it was asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

ANSWERS = Path(__file__).resolve().parent.parent / "data" / "pools"


@dataclass
class Answer:
    """One answer; a text that is the name of a file in tests/data/pools stands for its content."""

    text: str
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    cut: int = 0


@dataclass
class JsonServer:
    """Answers by path, given in turn; the last one again and again."""

    answers: dict[str, list[Answer]]
    url: str = ""
    asked: list[tuple[str, dict[str, str], dict[str, str]]] = field(default_factory=list)

    def paths(self) -> list[str]:
        return [path for path, _, _ in self.asked]

    def answer(self, target: str, headers: dict[str, str]) -> Answer:
        parts = urlsplit(target)
        self.asked.append((parts.path, {key: values[0] for key, values in parse_qs(parts.query).items()}, headers))
        prepared = self.answers.get(parts.path, [Answer('{"detail": "not found"}', 404)])
        return prepared.pop(0) if len(prepared) > 1 else prepared[0]


@contextmanager
def serve(answers: dict[str, list[Answer]]) -> Iterator[JsonServer]:
    script = JsonServer(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            answer = script.answer(self.path, {key.lower(): value for key, value in self.headers.items()})
            time.sleep(answer.delay)
            file = ANSWERS / answer.text
            text = file.read_text(encoding="utf-8") if answer.text.endswith(".json") else answer.text
            body = text.replace("{base}", script.url).encode()
            try:
                self.send_response(answer.status)
                for key, value in answer.headers.items():
                    self.send_header(key, value.replace("{base}", script.url))
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) - answer.cut])
            except OSError:
                pass  # the client did not wait

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    script.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
