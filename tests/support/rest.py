"""A caller over HTTP and JSON, as curl would be."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class HttpAnswer:
    """What a server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def lines(self) -> list[Any]:
        """The body as JSON, a document a line."""
        return [json.loads(line) for line in self.body.splitlines() if line]


async def ask(
    address: str,
    method: str,
    path: str,
    document: object = None,
    *,
    tls: ssl.SSLContext | None = None,
    **headers: str,
) -> HttpAnswer:
    """Asks `path` at host:port. Names of headers have _ for -."""
    return await asyncio.to_thread(_ask, address, method, path, document, tls, headers)


def _ask(
    address: str,
    method: str,
    path: str,
    document: object,
    tls: ssl.SSLContext | None,
    headers: Mapping[str, str],
) -> HttpAnswer:
    connection = (
        http.client.HTTPConnection(address, timeout=300)
        if tls is None
        else http.client.HTTPSConnection(address, timeout=300, context=tls)
    )
    try:
        body = None if document is None else json.dumps(document)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            sent["content-type"] = "application/json"
        connection.request(method, path, body=body, headers=sent)
        response = connection.getresponse()
        received = {name.lower(): value for name, value in response.getheaders()}
        return HttpAnswer(response.status, received, response.read())
    finally:
        connection.close()
