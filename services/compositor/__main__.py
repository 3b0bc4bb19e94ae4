"""`python -m compositor`: runs the compositor until SIGTERM."""

from compositor.servicer import build
from compositor.settings import Settings
from rpckit.server import run

if __name__ == "__main__":
    run(Settings, build)
