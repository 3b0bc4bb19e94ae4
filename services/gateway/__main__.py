"""`python -m gateway`: runs the gateway until SIGTERM."""

from gateway.servicer import build
from gateway.settings import Settings
from rpckit.server import run

if __name__ == "__main__":
    run(Settings, build)
