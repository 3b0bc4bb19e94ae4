"""Stores of objects for tests: a folder, memory, and a real S3 server from a wheel."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from tests.support.ports import ReservedPort

WEED = Path(sys.executable).parent / "weed"
ACCESS_KEY = "AKGATORTESTS"
SECRET_KEY = "a-secret-of-the-tests"
_START_SECONDS = 300.0


@dataclass
class S3Server:
    """SeaweedFS with its S3 gateway, on loopback, with a bucket."""

    bucket: str
    port: int
    filer_port: int
    folder: Path
    command: list[str]

    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns once it answers."""
        log = self.folder / "log"
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env={**os.environ, "TMPDIR": str(self.folder)},  # for its logs
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        _until_it_answers(self, log)

    def kill(self) -> None:
        """SIGKILL: it takes its time otherwise."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    @property
    def environment(self) -> dict[str, str]:
        """What a client of this server reads from its environment."""
        return {
            "AWS_ENDPOINT": f"http://127.0.0.1:{self.port}",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
            "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "false",
        }

    def url(self, folder: str) -> str:
        """A folder of the bucket."""
        return f"s3://{self.bucket}/{folder}"

    def halt(self) -> None:
        """Makes the server unresponsive."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets it go on."""
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """A server with its files in `folder`, killed at the end."""
    parts = ("master", "volume", "filer", "s3")
    with ExitStack() as stack:
        # It cannot take port 0.
        port = {
            name: stack.enter_context(ReservedPort()).number
            for part in parts
            for name in (part, f"{part}.grpc")
        }
        server = S3Server("gator", port["s3"], port["filer"], folder, _command(folder, port))
        try:
            server.start()
            yield server
        finally:
            server.kill()
            shutil.rmtree(folder, ignore_errors=True)
            # Sockets that it makes there wherever its files are.
            for part in parts:
                name = f"seaweedfs-{part}-grpc-{port[f'{part}.grpc']}.sock"
                Path("/tmp", name).unlink(missing_ok=True)


def _command(folder: Path, port: dict[str, int]) -> list[str]:
    """Writes who may call into `folder`; `port` is of each part, and of its gRPC."""
    identity = {
        "name": "tests",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    return [
        str(WEED),
        "server",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        f"-dir={folder}",
        f"-master.port={port['master']}",
        f"-master.port.grpc={port['master.grpc']}",
        "-master.telemetry=false",
        "-master.volumeSizeLimitMB=64",
        f"-volume.port={port['volume']}",
        f"-volume.port.grpc={port['volume.grpc']}",
        "-volume.max=40",
        "-filer",
        f"-filer.port={port['filer']}",
        f"-filer.port.grpc={port['filer.grpc']}",
        f"-filer.localSocket={folder}/filer.sock",
        "-s3",
        f"-s3.port={port['s3']}",
        f"-s3.port.grpc={port['s3.grpc']}",
        f"-s3.config={folder}/s3.json",
        f"-s3.localSocket={folder}/s3.sock",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-metricsPort=0",
    ]


def _until_it_answers(server: S3Server, log: Path) -> None:
    """Waits until the bucket is made and the S3 gateway is there."""
    bucket = f"http://127.0.0.1:{server.filer_port}/buckets/{server.bucket}/"
    gateway = f"http://127.0.0.1:{server.port}/"
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and server.process.poll() is None:
        # A folder of the filer is a bucket; the gateway wants a signature.
        if _status(bucket, "POST") in (201, 409) and _status(gateway, "GET") == 403:
            return
        time.sleep(0.1)  # nothing tells when it is ready but that it answers
    raise AssertionError(f"the S3 server did not start:\n{log.read_text(errors='replace')[-4000:]}")


def _status(url: str, method: str) -> int:
    """Of the answer; 0 if there is none."""
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, method=method), timeout=5
        ) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


class CuttableLink:
    """A TCP link to a port on loopback that a test cuts and mends."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._reserved = ReservedPort()
        self.port = self._reserved.number

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.cut()
        self._reserved.close()

    async def mend(self) -> None:
        """Lets connections through."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def cut(self) -> None:
        """Breaks every connection and refuses new ones."""
        if self._server is not None:
            self._server.close()
            for writer in self._writers:
                writer.transport.abort()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection("127.0.0.1", self._target)
        await asyncio.gather(self._pump(reader, there[1]), self._pump(there[0], writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with suppress(OSError):
                while data := await reader.read(1 << 16):
                    writer.write(data)
                    await writer.drain()
        finally:
            self._writers.discard(writer)
            writer.close()


class RefusingStore:
    """An S3 server that answers every request with one status."""

    def __init__(self, status: str) -> None:
        self._status = status
        self.requests = 0
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = head.partition("content-length: ")[2].partition("\r\n")[0]
            await reader.readexactly(int(length or 0))
            self.requests += 1
            answer = f"HTTP/1.1 {self._status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            writer.write(answer.encode())
            await writer.drain()
        writer.close()
