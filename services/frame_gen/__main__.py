"""`python -m frame_gen`: runs the frame generation service until SIGTERM.

`python -m frame_gen download` brings the models of the settings onto this machine and ends.
"""

from __future__ import annotations

import sys

from rpckit.termination import note_signals


def serve() -> None:
    """Runs the frame generation service."""
    note_signals()
    # Late: they take a second, in which a signal may come.
    from frame_gen.servicer import build  # noqa: PLC0415
    from frame_gen.settings import Settings  # noqa: PLC0415
    from rpckit.server import run  # noqa: PLC0415

    run(Settings, build)


def download() -> None:
    """Brings the models onto this machine."""
    # An image without models has no hub library.
    from frame_gen.diffusion.download import DownloadError, DownloadStopped  # noqa: PLC0415
    from frame_gen.diffusion.fetching import fetch_models  # noqa: PLC0415
    from frame_gen.diffusion.settings import DiffusersSettings  # noqa: PLC0415
    from rpckit.secrets import read_secrets  # noqa: PLC0415
    from rpckit.settings import SettingsError, load  # noqa: PLC0415
    from rpckit.telemetry import configure_logging  # noqa: PLC0415

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
        serve()
