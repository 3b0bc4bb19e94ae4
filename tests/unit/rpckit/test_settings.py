"""Settings of the environment: what is wrong is told by the variable's name."""

import pytest

from gateway.settings import Settings
from rpckit.settings import MetricsSettings, SettingsError, load


def test_bad_values_are_told_by_the_names_of_their_variables(monkeypatch):
    monkeypatch.setenv("GATOR_GATEWAY_MAX_SCENES", "abc")
    monkeypatch.setenv("GATOR_GATEWAY_SCENE_ATTEMPTS", "0")
    with pytest.raises(SettingsError) as raised:
        load(Settings)
    assert "GATOR_GATEWAY_MAX_SCENES: " in str(raised.value)
    assert "GATOR_GATEWAY_SCENE_ATTEMPTS: " in str(raised.value)


def test_what_is_given_goes_before_the_environment(monkeypatch):
    monkeypatch.setenv("GATOR_GATEWAY_LISTEN", "127.0.0.1:1")
    assert load(Settings, listen="127.0.0.1:2").listen == "127.0.0.1:2"


@pytest.mark.parametrize("address", ["127.0.0.1:65536", "127.0.0.1:-1", "[::1]:99999"])
def test_a_port_that_there_is_not_is_refused_not_wrapped_around(monkeypatch, address):
    for settings, variable in (
        (Settings, "GATOR_GATEWAY_LISTEN"),
        (Settings, "GATOR_GATEWAY_HEALTH_LISTEN"),
        (MetricsSettings, "GATOR_METRICS_LISTEN"),
    ):
        with monkeypatch.context() as environment:
            environment.setenv(variable, address)
            with pytest.raises(SettingsError, match=f"^.*{variable}: "):
                load(settings)


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:65535", "unix:/run/gator:70000"])
def test_other_addresses_are_taken(address):
    assert load(Settings, listen=address).listen == address
