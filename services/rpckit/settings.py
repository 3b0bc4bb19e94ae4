"""Settings from the environment, one class a service, each variable with the prefix GATOR_."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import pydantic_settings
from pydantic import BeforeValidator, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

T = TypeVar("T", bound=BaseSettings)


def split_names(value: object) -> object:
    """The names in a value of the environment, with commas between them."""
    if isinstance(value, str):
        return tuple(name for part in value.split(",") if (name := part.strip()))
    return value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_names)]
"""Names with commas between them."""


def port_there_is(address: str) -> str:
    """`address`, host:port; ValueError if it names a port that there is not.

    gRPC takes the port modulo 65,536, so a server would listen where nobody looks for it.
    """
    port = re.search(r":(-?\d+)$", address)
    if port and not address.startswith("unix") and not 0 <= int(port[1]) <= 65_535:
        raise ValueError(f"{port[1]} is no port; ports are 0 to 65535")
    return address


class SettingsError(Exception):
    """The environment holds a value that cannot be used; the message names the variables."""


def load(settings_class: type[T], **given: Any) -> T:
    """Settings of the environment, but for what is `given`.

    Raises:
        SettingsError: a value cannot be used.
    """
    prefix = settings_class.model_config.get("env_prefix", "")
    try:
        return settings_class(**given)
    except ValidationError as error:
        problems = (
            f"{_variable(prefix, e['loc'])}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        )
        raise SettingsError("the environment cannot be used: " + "; ".join(problems)) from None
    except pydantic_settings.SettingsError as error:
        # A value that should be JSON. It is not shown: it may be a secret.
        field = re.search(r'field "(\w+)"', str(error))
        variable = _variable(prefix, (field[1],) if field else ())
        why = f"Input should be JSON: {error.__cause__ or 'it cannot be read'}"
        raise SettingsError(f"the environment cannot be used: {variable}: {why}") from None


def _variable(prefix: str, location: tuple[int | str, ...]) -> str:
    name = str(location[0]) if location else "*"
    # Of a value that is JSON: the place in it.
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location[1:])
    # A variable with a name of its own, such as OPENAI_API_KEY, has no prefix.
    return (name if name.isupper() else prefix + name.upper()) + place


def settings_config(prefix: str) -> SettingsConfigDict:
    """Reads variables that begin with `prefix`, such as "GATOR_COMPOSITOR_"."""
    return SettingsConfigDict(env_prefix=prefix, extra="forbid", frozen=True)


class LogSettings(BaseSettings):
    """How a process logs. Variables begin with GATOR_LOG_."""

    model_config = settings_config("GATOR_LOG_")

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least level that is logged."""
    format: Literal["auto", "json", "console"] = "auto"
    """`auto` is console on a terminal and JSON elsewhere."""


class MetricsSettings(BaseSettings):
    """Where a process shows its metrics. Variables begin with GATOR_METRICS_."""

    model_config = settings_config("GATOR_METRICS_")

    listen: str = Field(default="", pattern=r"^$|^.*:\d+$")
    """Address of the Prometheus endpoint, host:port. Port 0 takes a free one; empty has none."""

    _port_there_is = field_validator("listen")(port_there_is)


class ServerSettings(BaseSettings):
    """What every server can be told. A service's settings derive from it with its own prefix."""

    listen: str = "127.0.0.1:0"
    """Address to listen on, host:port. Port 0 takes a free one."""
    reflection: bool = False
    """Whether clients may read the API from the server (gRPC reflection)."""
    tls_cert_file: Path | None = None
    """Certificate chain, PEM. With `tls_key_file` turns on TLS. These files are read again when
    they change, for the connections that come then."""
    tls_key_file: Path | None = None
    """Private key of the certificate, PEM, without a passphrase."""
    tls_client_ca_file: Path | None = None
    """Certificate authorities of clients, PEM. Set, a client must show a certificate."""
    tls_client_names: Names = ()
    """Names, with commas between them, of which a client's certificate must carry one: a DNS or
    URI name, or the common name of one that has neither. Empty takes every client that
    `tls_client_ca_file` vouches for."""
    health_listen: str = Field(default="", pattern=r"^$|^.*:\d+$")
    """Address of a second port, host:port, plaintext, that answers grpc.health.v1.Health and
    nothing else: for probes that speak no TLS, such as those of Kubernetes. Empty has none."""
    max_connection_age: float = Field(default=3600.0, ge=0, le=31_536_000)
    """Seconds after which a client is told to connect again, give or take a tenth; running calls
    go on. So load spreads to new servers, and a certificate that was renewed or withdrawn counts.
    0 never tells."""
    drain_delay: float = Field(default=0.0, ge=0, le=600)
    """Seconds between the health turning NOT_SERVING and the refusal of new calls."""
    grace: float = Field(default=20.0, ge=0, le=3600)
    """Seconds that running calls have to end on shutdown."""
    write_timeout: float = Field(default=60.0, gt=0, le=3600)
    """Seconds that a client may leave a message of a stream unread."""

    _ports_there_are = field_validator("listen", "health_listen")(port_there_is)

    @model_validator(mode="after")
    def _tls_is_whole(self) -> ServerSettings:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_cert_file and tls_key_file go together: set both or neither")
        if self.tls_client_ca_file is not None and self.tls_cert_file is None:
            raise ValueError("tls_client_ca_file needs tls_cert_file and tls_key_file")
        if self.tls_client_names and self.tls_client_ca_file is None:
            raise ValueError("tls_client_names needs tls_client_ca_file")
        return self


class ChannelSettings(BaseSettings):
    """How a service calls another. Variables begin with GATOR_CHANNEL_."""

    model_config = settings_config("GATOR_CHANNEL_")

    tls: bool = False
    """Whether calls go over TLS. Setting any of the files below turns it on."""
    tls_ca_file: Path | None = None
    """Certificate authorities of servers, PEM. Unset uses the system's."""
    tls_cert_file: Path | None = None
    """Certificate that is shown to servers, PEM, for mTLS."""
    tls_key_file: Path | None = None
    """Private key of that certificate, PEM."""
    tls_server_name: str | None = None
    """Name that the server's certificate must carry, where it is not the target's host."""
    deadline_reserve: float = Field(default=0.5, ge=0, le=60)
    """Seconds of a deadline that are kept back at each hop, so that the caller learns which
    hop ran out of time."""

    @model_validator(mode="after")
    def _pair_is_whole(self) -> ChannelSettings:
        if (self.tls_cert_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_cert_file and tls_key_file go together: set both or neither")
        return self

    @property
    def secure(self) -> bool:
        """Whether calls go over TLS."""
        return self.tls or self.tls_ca_file is not None or self.tls_cert_file is not None
