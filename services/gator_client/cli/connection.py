"""The options that say which server does the work."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gator_client.target import full_target
from gator_client.token import Token, check_token, read_token

if TYPE_CHECKING:
    from gator_client.client import AsyncClient

_PANEL = "Server"
_QUIET = {
    "GRPC_VERBOSITY": "NONE",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
}
"""What goes wrong is told by the command; the libraries' own lines would run into its display."""

Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        envvar="GATOR_SERVER",
        metavar="HOST[:PORT]",
        help="A running gateway, such as one started with `gator serve`. Without it the services "
        "run inside this command.",
        rich_help_panel=_PANEL,
    ),
]
UseTls = Annotated[
    bool,
    typer.Option("--tls", metavar="", help="Connect to the server by TLS.", rich_help_panel=_PANEL),
]


def _pem(help_: str) -> typer.models.OptionInfo:
    """The option that names a PEM file."""
    option: typer.models.OptionInfo = typer.Option(
        metavar="PEM", exists=True, dir_okay=False, help=help_, rich_help_panel=_PANEL
    )
    return option


CaFile = Annotated[
    Path | None,
    _pem("Trust the server certificates that these CAs signed. Means --tls."),
]
CertFile = Annotated[
    Path | None,
    _pem("Certificate of this client, where the server asks for one. Means --tls."),
]
KeyFile = Annotated[Path | None, _pem("Key of that certificate.")]
ShownToken = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="GATOR_TOKEN",
        metavar="TOKEN|@FILE",
        help="Token by which the server knows this client, or @ and a file that holds it, which "
        "keeps it out of the list of processes.",
        rich_help_panel=_PANEL,
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="Give up after this time. Without it the command waits as long as it takes.",
        rich_help_panel=_PANEL,
    ),
]


@dataclass(frozen=True)
class Connection:
    """Which server does the work, and how it is reached."""

    server: str | None
    """None runs the services in this process."""
    tls: bool
    ca_file: Path | None
    cert_file: Path | None
    key_file: Path | None
    timeout: float | None
    token: str | None = field(default=None, repr=False)
    """The token, or @ and a file that holds it."""

    def __post_init__(self) -> None:
        """Refuses what contradicts itself, as a usage error."""
        if self.server is None and (self.tls or self.ca_file or self.cert_file or self.key_file):
            raise typer.BadParameter("TLS needs a server; add --server HOST:PORT")
        if self.timeout is not None and not 0 < self.timeout < math.inf:
            raise typer.BadParameter("--timeout must be a finite number of seconds, more than 0")
        if (self.cert_file is None) != (self.key_file is None):
            raise typer.BadParameter("--cert-file and --key-file go together")
        if self.server and (token := self._token()) is not None:
            try:
                check_token(token, full_target(self.server), tls=self._secure)
                read_token(token)
            except OSError as error:
                raise typer.BadParameter(f"--token: {token}: {error.strerror}") from None
            except ValueError as error:
                raise typer.BadParameter(f"--token: {error}") from None

    def client(self) -> AsyncClient:
        """A client for the server."""
        for name, value in _QUIET.items():
            os.environ.setdefault(name, value)
        from gator_client.channel import Tls  # noqa: PLC0415 - gRPC takes long to load
        from gator_client.client import AsyncClient  # noqa: PLC0415

        files = Tls(self.ca_file, self.cert_file, self.key_file)
        tls = files if self.ca_file or self.cert_file else self.tls
        # Without a server nobody asks for one.
        token = self._token() if self.server else None
        return AsyncClient(self.server or None, tls=tls, token=token, timeout=self.timeout)

    @property
    def _secure(self) -> bool:
        return self.tls or self.ca_file is not None or self.cert_file is not None

    def _token(self) -> Token | None:
        if not self.token:
            return None
        return Path(self.token[1:]) if self.token.startswith("@") else self.token
