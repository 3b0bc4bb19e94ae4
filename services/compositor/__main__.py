"""`python -m compositor`: runs the compositor until SIGTERM."""

from compositor.memory import give_back_large_blocks
from rpckit.termination import note_signals


def main() -> None:
    """Runs the compositor."""
    note_signals()
    give_back_large_blocks()
    # Late: they take a second, in which a signal may come.
    from compositor.servicer import build  # noqa: PLC0415
    from compositor.settings import Settings  # noqa: PLC0415
    from rpckit.server import run  # noqa: PLC0415

    run(Settings, build)


if __name__ == "__main__":
    main()
