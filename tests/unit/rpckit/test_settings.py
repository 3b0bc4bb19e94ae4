"""Settings of the environment: what is wrong is told by the variable's name."""

import pytest

from gateway.settings import Settings
from rpckit.settings import SettingsError, load


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
