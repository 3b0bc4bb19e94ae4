"""Settings that stand in files."""

from pathlib import Path

import pytest

from rpckit.secrets import FOLDER, read_secrets
from rpckit.settings import SettingsError
from tests.support.processes import server_process


def mounted(folder: Path, **secrets: str) -> Path:
    """A folder as Kubernetes mounts a secret: links to links to files."""
    version = folder / "..2026_11_22"
    version.mkdir(parents=True)
    (folder / "..data").symlink_to(version.name)
    for name, value in secrets.items():
        (version / name).write_text(value)
        (folder / name).symlink_to(f"..data/{name}")
    return folder


def test_each_file_is_a_variable(tmp_path: Path):
    folder = mounted(tmp_path / "secrets", HF_TOKEN="hf_1\n", AWS_SECRET_ACCESS_KEY="a b=c")
    (folder / "not-a-variable.txt").write_text("x")
    environment = {FOLDER: str(folder), "HF_TOKEN": "the environment's"}
    read_secrets(environment)
    assert environment == {
        FOLDER: str(folder),
        "HF_TOKEN": "the environment's",
        "AWS_SECRET_ACCESS_KEY": "a b=c",
    }


def test_without_a_folder_nothing_happens():
    environment = {"HOME": "/"}
    read_secrets(environment)
    assert environment == {"HOME": "/"}


def test_what_cannot_be_read_is_named_and_not_shown(tmp_path: Path):
    with pytest.raises(SettingsError, match=r"GATOR_SECRETS_DIR: .*nowhere: No such file"):
        read_secrets({FOLDER: str(tmp_path / "nowhere")})
    (tmp_path / "KEY").write_bytes(b"\xffsecret")
    with pytest.raises(SettingsError, match="KEY is not text") as caught:
        read_secrets({FOLDER: str(tmp_path)})
    assert "secret" not in str(caught.value).replace(str(tmp_path), "").replace(FOLDER, "").lower()


async def test_a_service_takes_its_settings_from_files(tmp_path: Path):
    secrets = mounted(tmp_path / "secrets", GATOR_COMPOSITOR_LISTEN="127.0.0.1:0\n")
    async with server_process("compositor", GATOR_SECRETS_DIR=str(secrets)) as (_, address):
        assert address.startswith("127.0.0.1:")
        assert not address.endswith(":50053")  # as it would by default
