"""`python -m frame_gen`: runs the frame generation service until SIGTERM."""

from frame_gen.servicer import build
from frame_gen.settings import Settings
from rpckit.server import run

if __name__ == "__main__":
    run(Settings, build)
