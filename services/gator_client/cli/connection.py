"""The options that say which server does the work."""

from __future__ import annotations

import functools
import inspect
import math
import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gator_client.target import full_target
from gator_client.token import Token, check_token, read_token

if TYPE_CHECKING:
    from gator_client.client import AsyncClient

_PANEL = "Server"
_VARIABLE = "GATOR_SERVER"
_TOKEN = "GATOR_TOKEN"  # noqa: S105 - its name
_NO_SERVER = (
    "renders are kept by a server, and none is named. Start one with `gator serve`, then add "
    f"--server HOST:PORT, or set {_VARIABLE}"
)
_QUIET = {
    "GRPC_VERBOSITY": "NONE",
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
}
"""What goes wrong is told by the command; the libraries' own lines would run into its display."""


def _server(help_: str) -> Any:
    """The option that names a server."""
    return Annotated[
        str | None,
        typer.Option(
            "--server",
            envvar=_VARIABLE,
            metavar="HOST[:PORT]",
            help=f"A running gateway, such as one started with `gator serve`. {help_}",
            rich_help_panel=_PANEL,
        ),
    ]


_UseTls = Annotated[
    bool,
    typer.Option("--tls", metavar="", help="Connect to the server by TLS.", rich_help_panel=_PANEL),
]


def _pem(help_: str) -> typer.models.OptionInfo:
    """The option that names a PEM file."""
    option: typer.models.OptionInfo = typer.Option(
        metavar="PEM", exists=True, dir_okay=False, help=help_, rich_help_panel=_PANEL
    )
    return option


_CaFile = Annotated[
    Path | None,
    _pem("Trust the server certificates that these CAs signed. Means --tls."),
]
_CertFile = Annotated[
    Path | None,
    _pem("Certificate of this client, where the server asks for one. Means --tls."),
]
_KeyFile = Annotated[Path | None, _pem("Key of that certificate.")]
_ShownToken = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar=_TOKEN,
        metavar="TOKEN|@FILE",
        help="Token by which the server knows this client, or @ and a file that holds it, which "
        "keeps it out of the list of processes.",
        rich_help_panel=_PANEL,
    ),
]
_Timeout = Annotated[
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
        if self.server:
            try:
                full_target(self.server)
            except ValueError as error:
                raise typer.BadParameter(f"--server: {error}") from None
        if self.server and (token := self._token()) is not None:
            try:
                check_token(token, full_target(self.server), tls=self._secure)
                read_token(token)
            except OSError as error:
                raise typer.BadParameter(f"--token: {token}: {error.strerror}") from None
            except ValueError as error:
                raise typer.BadParameter(f"--token: {error}") from None

    def needed(self) -> Connection:
        """Itself; a usage error if it names no server."""
        if not self.server:
            raise typer.BadParameter(_NO_SERVER)
        return self

    def command(self, *words: str) -> str:
        """A `gator` command for the same server, to be copied."""
        return shlex.join(["gator", *words, *self._options()])

    def _options(self) -> Iterator[str]:
        if self.server and os.environ.get(_VARIABLE) != self.server:
            yield from ("--server", self.server)
        if self.tls:
            yield "--tls"
        for name in ("ca_file", "cert_file", "key_file"):
            if path := getattr(self, name):
                yield from (f"--{name.replace('_', '-')}", str(path))
        # A token itself is not to be shown.
        if self.token and self.token.startswith("@") and os.environ.get(_TOKEN) != self.token:
            yield from ("--token", self.token)

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


def connecting(*, embedded: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Gives a command the options of the server, and it gets a Connection as `connection`.

    Without `embedded` it is a usage error to name no server.
    """
    help_ = "Without it the services run inside this command." if embedded else ""
    kinds = {
        "server": (_server(help_), None),
        "tls": (_UseTls, False),
        "ca_file": (_CaFile, None),
        "cert_file": (_CertFile, None),
        "key_file": (_KeyFile, None),
        "token": (_ShownToken, None),
        "timeout": (_Timeout, None),
    }
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, (kind, default) in kinds.items()
    ]

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def connected(**given: Any) -> None:
            connection = Connection(**{name: given.pop(name) for name in kinds})
            command(connection=connection if embedded else connection.needed(), **given)

        # Typer makes the options of a command from its signature.
        own = inspect.signature(command, eval_str=True).parameters.values()
        others = [parameter for parameter in own if parameter.name != "connection"]
        connected.__signature__ = inspect.Signature([*others, *options])  # type: ignore[attr-defined]  # a function may have one
        connected.__annotations__ = {}
        return connected

    return decorate
