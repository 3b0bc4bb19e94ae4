"""`python -m frame_gen`: runs the frame generation service until SIGTERM.

`python -m frame_gen download` brings the models of the settings onto this machine and ends.
"""

from __future__ import annotations

import sys

from frame_gen.servicer import build
from frame_gen.settings import Settings
from rpckit.secrets import read_secrets
from rpckit.server import run
from rpckit.settings import SettingsError, load
from rpckit.telemetry import configure_logging


def download() -> None:
    """Brings the models onto this machine."""
    # Only here: an image without models has no hub library.
    from frame_gen.diffusion.download import DownloadError, DownloadStopped  # noqa: PLC0415
    from frame_gen.diffusion.fetching import fetch_models  # noqa: PLC0415
    from frame_gen.diffusion.settings import DiffusersSettings  # noqa: PLC0415

    try:
        read_secrets()
        configure_logging()
        fetch_models(load(DiffusersSettings))
    except (SettingsError, DownloadError) as error:
        sys.exit(f"Error: {error}")
    except DownloadStopped:
        sys.exit("Error: stopped before it was whole; run it again to go on")


if __name__ == "__main__":
    if sys.argv[1:] == ["download"]:
        download()
    else:
        run(Settings, build)
