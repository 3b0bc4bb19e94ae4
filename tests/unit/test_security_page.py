"""docs/security.md names tests and settings that exist."""

import re
from pathlib import Path

from gateway.settings import Settings
from rpckit.settings import ChannelSettings

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/security.md").read_text()


def test_each_threat_has_its_test():
    threats = PAGE.partition("## Threats")[2].partition("Not defended")[0]
    rows = [line for line in threats.splitlines() if line.startswith("| ")][1:]
    assert len(rows) >= 14
    for row in rows:
        named = re.findall(r"\[(test_\w+)\]\(\.\./(tests/[\w/]+\.py)\)", row)
        assert named, row
        for name, file in named:
            assert (ROOT / file).is_file(), file
            assert Path(file).stem == name


def test_each_setting_is_there():
    known = {name.upper() for name in Settings.model_fields | ChannelSettings.model_fields}
    named = set(re.findall(r"`([A-Z]+(?:_[A-Z]+)+)(?:=\w+)?`", PAGE)) - {"GATOR_TOKEN"}
    assert len(named) > 12
    assert named <= known
