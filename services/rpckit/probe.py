"""`python -m rpckit.probe HOST:PORT [NAME]`: whether a server is SERVING, as an exit status.

For container engines without a gRPC probe of their own. NAME is of a gRPC service or "liveness";
without it the whole server is asked about. Plaintext: ask the port of `health_listen` where the
server has TLS.
"""

from __future__ import annotations

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT = 5.0
"""Seconds."""


def probe(address: str, name: str = "") -> str:
    """The status, such as "SERVING", or why there is none."""
    with grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service=name), timeout=TIMEOUT
            )
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def main(arguments: list[str]) -> int:
    """0 if it is SERVING, 1 if not, 2 for arguments that make no sense."""
    if not 1 <= len(arguments) <= 2:
        print(__doc__, file=sys.stderr)  # noqa: T201 - what a command is for
        return 2
    status = probe(*arguments)
    print(status, file=sys.stderr)  # noqa: T201 - what a command is for
    return 0 if status == "SERVING" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
