"""Who may be asked for nothing: a server that clients call listens on loopback, or asks."""

import pytest
from structlog.testing import capture_logs

from gateway.settings import Settings
from rpckit.auth import warn_of_open_doors
from rpckit.auth_settings import on_loopback
from rpckit.settings import ServerSettings, SettingsError, load

JWKS = {"auth_issuer": "https://login.example", "auth_audience": "gator"}


@pytest.mark.parametrize(
    ("listen", "inside"),
    [
        ("127.0.0.1:50051", True),
        ("127.9.9.9:0", True),
        ("[::1]:50051", True),
        ("localhost:50051", True),
        ("unix:/run/gator.sock", True),
        ("0.0.0.0:50051", False),
        ("[::]:50051", False),
        (":50051", False),
        ("10.0.0.7:50051", False),
        ("gateway.gator:50051", False),
        ("127.0.0.1.example:50051", False),
    ],
)
def test_a_gateway_beyond_loopback_asks_who_calls(listen, inside):
    assert on_loopback(listen) is inside
    if inside:
        load(Settings, listen=listen)
        return
    with pytest.raises(SettingsError) as raised:
        load(Settings, listen=listen)
    for variable in ("AUTH_TOKENS_FILE", "AUTH_JWKS_URL", "TLS_CLIENT_CA_FILE", "INSECURE=true"):
        assert f"GATOR_GATEWAY_{variable}" in str(raised.value)


@pytest.mark.parametrize(
    "given",
    [
        {"insecure": True},
        {"auth_tokens_file": "tokens.toml"},
        {"auth_jwks_file": "keys.json", **JWKS},
        {"auth_jwks_url": "https://login.example/keys", **JWKS},
        {"tls_cert_file": "a", "tls_key_file": "b", "tls_client_ca_file": "c"},
    ],
)
def test_each_way_to_ask_opens_it(given):
    load(Settings, listen="0.0.0.0:50051", **given)


def test_tls_alone_asks_nobody():
    with pytest.raises(SettingsError):
        load(Settings, listen="0.0.0.0:50051", tls_cert_file="a", tls_key_file="b")


def test_a_variable_says_that_the_network_keeps_strangers_out(monkeypatch):
    monkeypatch.setenv("GATOR_GATEWAY_LISTEN", "0.0.0.0:50051")
    with pytest.raises(SettingsError):
        load(Settings)
    monkeypatch.setenv("GATOR_GATEWAY_INSECURE", "true")
    assert load(Settings).insecure


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"auth_jwks_file": "keys.json"}, "need auth_issuer and auth_audience"),
        ({"auth_jwks_file": "keys.json", "auth_issuer": "x"}, "need auth_issuer and"),
        ({"auth_jwks_file": "k", "auth_jwks_url": "https://x/k", **JWKS}, "exclude each other"),
        ({"auth_jwks_url": "http://login.example/keys", **JWKS}, "must begin with https"),
        ({"auth_jwks_url": "file:///etc/keys", **JWKS}, "must begin with https"),
        ({"auth_jwks_url": "ftp://127.0.0.1/keys", **JWKS}, "must begin with https"),
        ({"auth_jwks_url": "https:///keys", **JWKS}, "must begin with https"),
        ({"auth_algorithms": "none"}, "AUTH_ALGORITHMS"),
        ({"auth_algorithms": "RS256,HS256"}, "AUTH_ALGORITHMS"),
        ({"auth_algorithms": ""}, "AUTH_ALGORITHMS"),
        ({"auth_certificate_owner": True}, "needs tls_client_ca_file"),
        ({"tls_client_names": "a"}, "needs tls_client_ca_file"),
    ],
)
def test_settings_that_would_check_nothing_are_refused(given, told):
    with pytest.raises(SettingsError, match=told):
        load(Settings, **given)


def test_names_and_algorithms_are_lists_with_commas(monkeypatch):
    monkeypatch.setenv("GATOR_GATEWAY_AUTH_ALGORITHMS", "RS256, ES256")
    monkeypatch.setenv("GATOR_GATEWAY_AUTH_AUDIENCE", "gator,gator-test")
    settings = load(Settings)
    assert settings.auth_algorithms == ("RS256", "ES256")
    assert settings.auth_audience == ("gator", "gator-test")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (Settings(listen="0.0.0.0:1", auth_tokens_file="t"), "clear text"),
        (Settings(listen="0.0.0.0:1", insecure=True), "whoever reaches"),
        (ServerSettings(listen="0.0.0.0:1"), "whoever reaches"),
        (ServerSettings(listen="127.0.0.1:1"), None),
        (
            Settings(listen=":1", auth_tokens_file="t", tls_cert_file="a", tls_key_file="b"),
            None,
        ),
    ],
)
def test_what_only_the_network_makes_safe_is_said_in_the_log(settings, told):
    with capture_logs() as logs:
        warn_of_open_doors("gateway", settings)
    assert [told in entry["event"] for entry in logs] == ([] if told is None else [True])
