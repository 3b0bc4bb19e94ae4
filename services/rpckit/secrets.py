"""Settings that are secrets, from files instead of the environment."""

from __future__ import annotations

import os
import re
from collections.abc import MutableMapping
from pathlib import Path

from rpckit.settings import SettingsError

FOLDER = "GATOR_SECRETS_DIR"
"""Variable that names a folder of secrets."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read_secrets(environment: MutableMapping[str, str] = os.environ) -> None:
    """Makes a variable of each file in the folder that GATOR_SECRETS_DIR names, if it does.

    The file's name is the variable's, its text the value, without the line's end. So any
    setting of ours and of the libraries (GATOR_GATEWAY_DATABASE_URL, AWS_SECRET_ACCESS_KEY,
    HF_TOKEN) can stand in a file that only this process may read, as Kubernetes and
    Compose mount secrets. What is in the environment already goes first. Files of other
    names are left alone.

    Raises:
        SettingsError: the folder or a file cannot be read.
    """
    folder = environment.get(FOLDER)
    if not folder:
        return
    try:
        files = sorted(Path(folder).iterdir())
        for file in files:
            if _VARIABLE.fullmatch(file.name) and file.is_file():
                environment.setdefault(file.name, _value(file))
    except OSError as error:
        raise SettingsError(f"{FOLDER}: {error.filename}: {error.strerror}") from None


def _value(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise SettingsError(f"{FOLDER}: {file} is not text in UTF-8") from None
