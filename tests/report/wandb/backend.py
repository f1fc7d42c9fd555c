"""A minimal W&B server on localhost for uploads, reports and views. It stores runs and views, and can fail."""

import gzip
import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PROJECT = {"id": "P1", "internalId": "17", "name": "xnorlit", "entityName": "me", "entity": {"id": "E1", "name": "me"}}


@dataclass
class Backend:
    """What the server holds.

    Args:
        runs: By name (W&B's id): the variables of its last upsertBucket, with `history`, the rows, and `summary`.
        views: By id: the variables of the last upsertView.
        asked: Each request, as (path, query's first words).
        refuses: Answers a request, given as its path and body, with this status where it gives one.
    """

    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    views: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    refuses: Callable[[str, str], int | None] = lambda path, body: None
    address: str = ""

    def reports(self) -> list[dict[str, Any]]:
        """The views that are reports, with `spec` read."""
        return [{**view, "spec": json.loads(view["spec"])} for view in self.views.values() if view["type"] == "runs"]

    def workspaces(self) -> list[dict[str, Any]]:
        """The views that are saved views of the workspace, with `spec` read."""
        kept = [view for view in self.views.values() if view["type"] == "project-view"]
        return [{**view, "spec": json.loads(view["spec"])} for view in kept]

    def answer(self, query: str, given: dict[str, Any]) -> dict[str, Any]:
        """The data of a GraphQL answer."""
        if "upsertBucket(" in query:
            return self._upsert_run(given)
        if "upsertView(" in query:
            return self._upsert_view(given)
        if "createRunFiles(" in query:
            files = [{"name": name, "uploadUrl": f"{self.address}/storage/{name}"} for name in given["files"]]
            return {"createRunFiles": {"runID": "", "uploadHeaders": [], "files": files}}
        if "RunResumeStatus" in query:
            run = self.runs.get(given["name"])
            return {"model": {**PROJECT, "bucket": run and _resume_status(given["name"], run)}}
        if "allViews(" in query:
            return {"project": self._views(given)}
        if "runs(filters" in query:
            return {"project": self._runs(given) if self.runs else None}
        if "projects(" in query or "models(" in query:
            node = {**PROJECT, "createdAt": "2026-01-01T00:00:00Z", "isBenchmark": False, "user": None}
            return {"models": {"edges": [{"node": node, "cursor": ""}] if self.runs else [], "pageInfo": _LAST_PAGE}}
        viewer = {"id": "U1", "entity": "me", "username": "me", "email": "", "flags": "{}", "teams": {"edges": []}}
        return {"viewer": viewer, "serverInfo": None, "project": PROJECT if self.runs else None}

    def _upsert_run(self, given: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.setdefault(given["name"], {"history": [], "summary": {}})
        run.update({key: value for key, value in given.items() if value is not None})
        bucket = {"id": given["name"], "name": given["name"], "displayName": given.get("displayName"), "config": "{}"}
        return {"upsertBucket": {"bucket": {**bucket, "historyLineCount": 0, "project": PROJECT}, "inserted": True}}

    def _upsert_view(self, given: dict[str, Any]) -> dict[str, Any]:
        key = given.get("id") or f"View{len(self.views)}"
        self.views[key] = {**given, "id": key}
        view = {**given, "id": key, "project": PROJECT, "updatedAt": "2026-01-01T00:00:00Z"}
        return {"upsertView": {"view": view, "inserted": not given.get("id")}}

    def _views(self, given: dict[str, Any]) -> dict[str, Any]:
        kept = [
            view
            for view in self.views.values()
            if view["type"] == given.get("viewType", "runs") and given.get("viewName") in (None, view["name"])
        ]
        dates = {"createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z", "user": None}
        edges = [{"node": {**view, **dates}, "cursor": ""} for view in kept]
        return {"allViews": {"edges": edges, "pageInfo": _LAST_PAGE}}

    def _runs(self, given: dict[str, Any]) -> dict[str, Any]:
        wanted = json.loads(given["filters"])["name"]["$in"]
        edges = [{"node": _node(name, run), "cursor": ""} for name, run in self.runs.items() if name in wanted]
        return {**PROJECT, "runCount": len(edges), "runs": {"edges": edges, "pageInfo": _LAST_PAGE}}

    def stream(self, name: str, files: dict[str, Any]) -> None:
        """Rows of a run's history at their offset, as the server keeps them; and its summary."""
        run = self.runs[name]
        if "wandb-history.jsonl" in files:
            sent = files["wandb-history.jsonl"]
            rows = [json.loads(line) for line in sent["content"]]
            run["history"] = run["history"][: sent["offset"]] + rows
        if "wandb-summary.json" in files:
            run["summary"] = json.loads(files["wandb-summary.json"]["content"][-1])


_LAST_PAGE = {"hasNextPage": False, "endCursor": None}


def _resume_status(name: str, run: dict[str, Any]) -> dict[str, Any]:
    rows = run["history"]
    return {
        "id": name, "name": name, "displayName": run.get("displayName"), "summaryMetrics": json.dumps(run["summary"]),
        "logLineCount": 0, "historyLineCount": len(rows), "eventsLineCount": 0, "eventsTail": "[]",
        "historyTail": json.dumps([json.dumps(rows[-1])] if rows else []), "config": run.get("config", "{}"),
        "tags": [], "notes": "", "wandbConfig": '{"t": 1}',
    }  # fmt: skip


def _node(name: str, run: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": name, "projectId": "17", "name": name, "displayName": run.get("displayName"), "state": "finished",
        "group": run.get("groupName"), "jobType": run.get("jobType"), "tags": [], "sweepName": None, "commit": None,
        "createdAt": "2026-01-01T00:00:00Z", "heartbeatAt": "2026-01-01T00:00:00Z", "description": "", "notes": "",
        "historyLineCount": len(run["history"]), "user": {"name": "me", "username": "me"}, "historyKeys": {},
        "readOnly": False, "config": run.get("config", "{}"), "summaryMetrics": json.dumps(run["summary"]),
        "systemMetrics": "{}",
    }  # fmt: skip


@contextmanager
def serving() -> Iterator[Backend]:
    """A backend that answers on the loopback until the block ends."""
    backend = Backend()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(backend))
    server.daemon_threads = True
    backend.address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield backend
    finally:
        server.shutdown()
        server.server_close()


def _handler(backend: Backend) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            body = self._body().decode("utf-8", "replace")
            status = backend.refuses(self.path, body)
            if status == 0:  # the network goes away
                self.close_connection = True
                return
            found: dict[str, Any] = {}
            if self.path == "/graphql":
                asked = json.loads(body)
                backend.asked.append((self.path, " ".join(asked["query"].split())[:60]))
                if status is None:
                    found = {"data": backend.answer(asked["query"], asked.get("variables") or {})}
            else:
                backend.asked.append((self.path, ""))
                stream = re.fullmatch(r"/files/me/xnorlit/([^/]+)/file_stream", self.path)
                if stream and status is None:
                    backend.stream(stream[1], json.loads(body).get("files") or {})
            self._send(status or 200, json.dumps(found).encode())

        do_GET = do_POST = do_PUT = _answer  # noqa: N815 - names of http.server

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                body = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

        def _send(self, status: int, text: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
