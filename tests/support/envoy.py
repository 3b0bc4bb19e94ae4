"""The real Envoy with the configurations of deploy/envoy, moved to loopback."""

from __future__ import annotations

import asyncio
import http.client
import json
import shutil
import socket
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CONFIGURATIONS = Path(__file__).parents[2] / "deploy" / "envoy"
VARIANTS = ("plaintext", "mtls")
NAMES = ("internal", "edge")

WAITING = 200.0
"""Seconds that anything of a proxy may take: its health checks are seconds apart."""
BINARY = Path(sys.executable).parent / "envoy"


def configuration(name: str, variant: str = "plaintext") -> dict[str, Any]:
    """What stands in deploy/envoy/VARIANT/NAME.yaml."""
    return yaml.safe_load((CONFIGURATIONS / variant / f"{name}.yaml").read_text())


@dataclass
class Envoy:
    """A proxy that runs."""

    process: asyncio.subprocess.Process
    folder: Path
    addresses: Mapping[str, str]
    """host:port of each listener, by its name."""

    async def admin(self, path: str, method: str = "GET") -> str:
        """What the admin interface answers."""
        return await _admin(self.folder, path, method)

    async def healthy(self, cluster: str) -> int:
        """How many replicas of a cluster may be called."""
        return await self.statistic(f"cluster.{cluster}.membership_healthy")

    async def statistic(self, name: str) -> int:
        """A counter or gauge."""
        answer = json.loads(await self.admin(f"/stats?format=json&filter=^{name}$"))
        values = [stat["value"] for stat in answer["stats"] if stat.get("name") == name]
        return values[0] if values else 0

    async def until_more(self, name: str, than: int) -> None:
        """Waits until a counter has grown."""
        async with asyncio.timeout(WAITING):
            while await self.statistic(name) <= than:  # noqa: ASYNC110 - it tells no events
                await asyncio.sleep(0.05)

    async def active(self, cluster: str, address: str) -> int:
        """Calls that run on one replica."""
        answer = json.loads(await self.admin("/clusters?format=json"))
        for status in answer["cluster_statuses"]:
            for host in status.get("host_statuses", ()) if status["name"] == cluster else ():
                if _address(host["address"]) == address:
                    values = {s["name"]: int(s.get("value", 0)) for s in host["stats"]}
                    return values["rq_active"]
        raise AssertionError(f"{cluster} has no {address}")

    async def until_active(self, cluster: str, address: str) -> None:
        """Waits until a call runs on a replica."""
        async with asyncio.timeout(WAITING):
            while not await self.active(cluster, address):  # noqa: ASYNC110 - it tells no events
                await asyncio.sleep(0.01)

    async def until_healthy(self, cluster: str, replicas: int) -> None:
        """Waits until so many replicas of a cluster may be called."""
        async with asyncio.timeout(WAITING):
            while await self.healthy(cluster) != replicas:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)


@asynccontextmanager
async def envoy(
    name: str,
    replicas: Mapping[str, Sequence[str]],
    *,
    variant: str = "plaintext",
    secrets: Path | None = None,
    public: Path | None = None,
    health_interval: float | None = None,
    refill_interval: float | None = None,
) -> AsyncIterator[Envoy]:
    """A configuration of deploy/envoy on free ports of loopback.

    Args:
        name: internal or edge.
        replicas: host:port of each replica of each cluster.
        variant: plaintext or mtls.
        secrets: for mtls, a folder with tls.crt, tls.key and ca.crt.
        public: the same for clients of the edge; unset is `secrets`.
        health_interval: seconds between two looks at a replica; unset is what stands there.
        refill_interval: seconds after which an address may make more renders; unset is what
            stands there.
    """
    # In a short place: the admin interface is a socket in it.
    with tempfile.TemporaryDirectory(prefix="envoy-") as made:
        folder = Path(made)
        file = moved(
            name,
            replicas,
            folder,
            variant=variant,
            secrets=secrets,
            public=public,
            health_interval=health_interval,
            refill_interval=refill_interval,
        )
        process = await asyncio.create_subprocess_exec(
            BINARY,
            *("--config-path", file, "--use-dynamic-base-id", "--concurrency", "1"),
            *("--log-level", "info"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        log: list[str] = []
        try:
            async with asyncio.timeout(WAITING):
                await _read_until(process, "starting workers", log)
            rest = asyncio.create_task(_drain(process))
            listeners = json.loads(await _admin(folder, "/listeners?format=json"))
            yield Envoy(
                process,
                folder,
                {
                    listener["name"]: _address(listener["local_address"])
                    for listener in listeners["listener_statuses"]
                },
            )
            assert process.returncode is None, "Envoy died"
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
        await rest


def moved(
    name: str,
    replicas: Mapping[str, Sequence[str]],
    folder: Path,
    *,
    variant: str = "plaintext",
    secrets: Path | None = None,
    public: Path | None = None,
    health_interval: float | None = None,
    refill_interval: float | None = None,
) -> Path:
    """Writes a configuration into `folder` that listens on loopback and finds its files there."""
    config = configuration(name, variant)
    shutil.copy(CONFIGURATIONS / "gator.protoset", folder)
    for file in (CONFIGURATIONS / variant).glob("*.yaml"):
        if file.stem not in NAMES:
            text = file.read_text().replace("/etc/gator/public-tls", str(public or secrets))
            (folder / file.name).write_text(text.replace("/etc/gator/tls", str(secrets)))
    admin = {"pipe": {"path": str(folder / "admin")}}
    config["admin"]["address"] = admin
    for listener in config["static_resources"]["listeners"]:
        listener["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": 0}
    if refill_interval is not None:
        _refill_every(config, refill_interval)
    for cluster in config["static_resources"]["clusters"]:
        if cluster["name"] == "admin":
            endpoints = [{"endpoint": {"address": admin}}]
        else:
            endpoints = [_endpoint(address) for address in replicas[cluster["name"]]]
            del cluster["cluster_type"]
            cluster["type"] = "STATIC"
            for check in cluster["health_checks"]:
                check["timeout"] = f"{WAITING}s"  # who answers late is not away
            if health_interval is not None:
                _look_every(cluster, health_interval)
        cluster["load_assignment"]["endpoints"] = [{"lb_endpoints": endpoints}]
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(config).replace("/etc/envoy/", f"{folder}/"))
    return file


def _look_every(cluster: dict[str, Any], seconds: float) -> None:
    (check,) = cluster["health_checks"]
    for name in ("interval", "no_traffic_interval", "initial_jitter"):
        check[name] = f"{seconds}s"


def _refill_every(part: Any, seconds: float) -> None:
    """Changes the limits of each address in a part of a configuration."""
    if isinstance(part, dict):
        for limit in part.get("descriptors", ()):
            limit["token_bucket"]["fill_interval"] = f"{seconds}s"
    for inner in part.values() if isinstance(part, dict) else part:
        if isinstance(inner, dict | list):
            _refill_every(inner, seconds)


def _endpoint(address: str) -> dict[str, Any]:
    host, _, port = address.rpartition(":")
    return {"endpoint": {"address": {"socket_address": {"address": host, "port_value": int(port)}}}}


def _address(local: Mapping[str, Any]) -> str:
    socket = local["socket_address"]
    return f"{socket['address']}:{socket['port_value']}"


async def _read_until(process: asyncio.subprocess.Process, text: str, log: list[str]) -> None:
    while text not in (line := (await process.stderr.readline()).decode()):
        assert line, "Envoy ended:\n" + "".join(log)
        log.append(line)


async def _drain(process: asyncio.subprocess.Process) -> None:
    while await process.stderr.readline():
        pass


async def _admin(folder: Path, path: str, method: str = "GET") -> str:
    def ask() -> str:
        connection = http.client.HTTPConnection("admin")
        connection.sock = socket.socket(socket.AF_UNIX)
        with closing(connection):
            connection.sock.connect(str(folder / "admin"))
            connection.request(method, path)
            answer = connection.getresponse()
            body = answer.read().decode()
            assert answer.status == 200, body
            return body

    return await asyncio.to_thread(ask)
