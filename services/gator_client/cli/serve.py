"""`gator serve`: the three services in one process, or one of them."""

from __future__ import annotations

import asyncio
import os
import runpy
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated
from urllib.parse import unquote, urlsplit, urlunsplit

import typer

from gator_client.cli.failure import failing
from gator_client.cli.running import InterruptionError, run

app = typer.Typer(
    invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}
)


def _listen(default: str) -> object:
    return typer.Option(
        metavar="HOST:PORT",
        help=f"Address to listen on; port 0 takes a free one. [default: {default}]",
    )


@app.callback()
def serve(
    context: typer.Context,
    listen: Annotated[str, _listen("127.0.0.1:50051")] = "127.0.0.1:50051",
) -> None:
    """Run the services as a server, until Ctrl-C or SIGTERM.

    All three in one process, for this machine, or for others, who must then show a
    token or a certificate (docs/security.md):

      gator serve

      GATOR_GATEWAY_AUTH_TOKENS_FILE=tokens.toml gator serve --listen 0.0.0.0:50051

    Renders outlive their clients and the server: they are kept in a folder of
    yours, which the server names when it starts, and go on at the next start.
    In another folder:

      GATOR_GATEWAY_STATE_DIR=/srv/gator gator serve

    One of them, as in a deployment of three. Settings come from the environment
    (GATOR_GATEWAY_..., GATOR_FRAME_GEN_..., GATOR_COMPOSITOR_...):

      gator serve frame-gen --listen 0.0.0.0:50052
    """
    if context.invoked_subcommand is None:
        with failing():
            try:
                run(_serve(listen))
            except InterruptionError:
                raise typer.Exit from None  # that is how a server is ended


async def _serve(listen: str) -> None:
    from gator_client.embedded import needs_standalone  # noqa: PLC0415 - see cli.app

    with needs_standalone():
        from standalone import (  # noqa: PLC0415
            ServerStartError,
            SettingsError,
            Standalone,
            configure_logging,
            exported_traces,
            metrics_endpoint,
        )
    configure_logging()
    try:
        with metrics_endpoint(), exported_traces("gator"):
            async with Standalone(listen=listen, durable=True) as stack:
                _greet(stack.address, stack.stored_in)
                await asyncio.Event().wait()
    except (ServerStartError, SettingsError) as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(1) from None


def _greet(address: str, stored_in: Sequence[str]) -> None:
    typer.echo(f"Gator Video listens on {address}. Ctrl-C ends it. Try:\n")
    typer.echo(f"  export GATOR_SERVER={address}")
    typer.echo('  gator render "a quiet harbour at dawn" -o harbour.mp4')
    typer.echo('  gator render "a market in full swing" --detach')
    typer.echo("  gator list\n")
    typer.echo(f"Renders, frames and videos are kept in {_shown(stored_in)}. What is not")
    typer.echo(
        "finished goes on at the next start. GATOR_GATEWAY_STATE_DIR names another folder.\n"
    )


def _shown(urls: Sequence[str]) -> str:
    """Where things are stored: folders, and URLs without their passwords."""
    places = []
    for url in urls:
        parts = urlsplit(url)
        path = unquote(parts.path)
        if parts.scheme == "sqlite":
            places.append(str(Path(path.removeprefix("/")).absolute().parent))
        elif parts.scheme == "file":
            places.append(str(Path(path).parent))
        else:
            host = parts.netloc.rpartition("@")[2]
            places.append(urlunsplit((parts.scheme, host, parts.path, "", "")))
    return " and ".join(dict.fromkeys(places))


@app.command()
def gateway(listen: Annotated[str | None, _listen("127.0.0.1:50051")] = None) -> None:
    """Run the gateway alone; settings come from GATOR_GATEWAY_... in the environment."""
    _run_service("gateway", listen)


@app.command(name="frame-gen")
def frame_gen(listen: Annotated[str | None, _listen("127.0.0.1:50052")] = None) -> None:
    """Run frame generation alone; settings come from GATOR_FRAME_GEN_... in the environment."""
    _run_service("frame_gen", listen)


@app.command()
def compositor(listen: Annotated[str | None, _listen("127.0.0.1:50053")] = None) -> None:
    """Run the compositor alone; settings come from GATOR_COMPOSITOR_... in the environment."""
    _run_service("compositor", listen)


def _run_service(package: str, listen: str | None) -> None:
    """What `python -m <package>` does."""
    if listen is not None:
        os.environ[f"GATOR_{package.upper()}_LISTEN"] = listen
    with failing():
        runpy.run_module(package, run_name="__main__", alter_sys=True)
