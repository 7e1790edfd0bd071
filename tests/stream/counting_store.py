"""An S3 server (moto's) that counts the bytes of objects that it sends: ``python -m tests.stream.counting_store``.

A process of its own, because deltalake keeps Python waiting while it talks to a store. It prints its port; GET
``/-/take`` gives the bytes by object since the last time.
"""

from __future__ import annotations

import json
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

TAKE = "/-/take"


class Counted:
    """Counts the bytes that a WSGI application sends, by object; bodies of objects alone, no listings."""

    def __init__(self, app: Callable[..., Iterable[bytes]]) -> None:
        self._app = app
        self._sent: Counter[str] = Counter()
        self._lock = threading.Lock()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterator[bytes]:
        path = environ["PATH_INFO"]
        if path == TAKE:
            start("200 OK", [("Content-Type", "application/json")])
            with self._lock:
                sent, self._sent = self._sent, Counter()
            yield json.dumps(sent).encode()
            return
        body = environ["REQUEST_METHOD"] == "GET" and path.count("/") > 1 and path[-1] != "/"
        for data in self._app(environ, start):
            if body:
                with self._lock:
                    self._sent[path] += len(data)
            yield data


if __name__ == "__main__":
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = make_server("127.0.0.1", 0, Counted(DomainDispatcherApplication(create_backend_app)), threaded=True)
    print(server.port, flush=True)
    server.serve_forever()
