"""The settings' reference, from their classes: each variable with its values, default, meaning."""

from __future__ import annotations

import ast
import inspect
import os
import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Literal, get_args, get_origin
from unittest import mock

from annotated_types import Ge, Gt, Le
from pydantic import TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

import compositor.settings
import frame_gen.settings
import gateway.settings
from docs.generator.markdown import cell, table
from frame_gen.backends.openai_images.settings import OpenAISettings
from frame_gen.diffusion.settings import DiffusersSettings
from rpckit.auth_settings import ClientFacingSettings
from rpckit.settings import ChannelSettings, LogSettings, MetricsSettings, ServerSettings

INTRODUCTION = """# Settings

Each setting is an environment variable; a value that cannot be used stops the service at its
start, with the variable's name. `GATOR_SECRETS_DIR` names a folder in which each file is such a
variable: the file's name is the variable's, its text the value
([secrets](../../deploy/README.md#images)). A name in small letters is another setting of the same
table. What the `gator` command reads stands [with its options](command.md), OpenTelemetry's
variables in [telemetry](../telemetry.md#traces).
"""
SECTIONS: tuple[tuple[str, str, type[BaseSettings], str], ...] = (
    ("Gateway", "", gateway.settings.Settings, ""),
    (
        "Who may call the gateway",
        "Without any of these it listens on loopback only: [security](../security.md).",
        ClientFacingSettings,
        "GATOR_GATEWAY_",
    ),
    ("Frame generation", "", frame_gen.settings.Settings, ""),
    ("Image models on this machine", "[Image models](../image-models.md)", DiffusersSettings, ""),
    ("Images by OpenAI", "[OpenAI](../openai.md)", OpenAISettings, ""),
    ("Compositor", "", compositor.settings.Settings, ""),
    (
        "Every server",
        "Each service has these, with `GATOR_GATEWAY_`, `GATOR_FRAME_GEN_` or `GATOR_COMPOSITOR_`.",
        ServerSettings,
        "GATOR_*_",
    ),
    ("Calls between services", "Of the gateway, which makes them.", ChannelSettings, ""),
    ("Logs", "", LogSettings, ""),
    ("Metrics", "[Telemetry](../telemetry.md)", MetricsSettings, ""),
)


def page() -> str:
    """The page."""
    parts = [INTRODUCTION]
    for heading, words, settings, shared in SECTIONS:
        prefix = shared or str(settings.model_config.get("env_prefix"))
        rows = [
            [
                f"`{_variable(name, settings.model_fields[name], prefix)}`",
                _values(settings.model_fields[name]),
                _default(settings.model_fields[name], node),
                cell(words_of),
            ]
            for name, node, words_of in _fields(settings)
            if not (settings is ServerSettings and name == "listen")  # each has its own
        ]
        head = ["variable", "value", "default", "meaning"]
        parts += [f"## {heading}", *([words] if words else []), table(head, rows)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def variables() -> set[str]:
    """The name of every setting of the services."""
    names: set[str] = set()
    for _, _, settings, _ in SECTIONS:
        prefix = str(settings.model_config.get("env_prefix") or "")
        if prefix:
            names |= {_variable(*field, prefix) for field in settings.model_fields.items()}
    return names


def _fields(settings: type[BaseSettings]) -> Iterator[tuple[str, ast.expr, str]]:
    """Each field of the class's own body: its name, what it is set to, its docstring."""
    (body,) = ast.parse(inspect.getsource(settings)).body
    assert isinstance(body, ast.ClassDef)  # noqa: S101 - what getsource gives
    for node, after in zip(body.body, body.body[1:], strict=False):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            match after:
                case ast.Expr(ast.Constant(str(words))) if node.value is not None:
                    yield node.target.id, node.value, words
                case _:
                    raise ValueError(f"{settings.__name__}.{node.target.id} says nothing of itself")


def _variable(name: str, field: FieldInfo, prefix: str) -> str:
    return str(field.validation_alias or prefix + name.upper())


def _default(field: FieldInfo, node: ast.expr) -> str:
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "Field":
        given = {keyword.arg: keyword.value for keyword in node.keywords}
        node = given.get("default", ast.Constant(None))
    if field.default_factory is not None:
        home = {"HOME": "/home/you"}  # so that it is the same wherever this runs
        with (
            mock.patch.dict(os.environ, home, clear=True),
            mock.patch.object(sys, "platform", "linux"),
        ):
            made = str(field.get_default(call_default_factory=True, validated_data={}))
        return f"`{made.replace('file:///home/you', 'file://~').replace('/home/you', '~')}`"
    try:
        ast.literal_eval(node)
    except ValueError:
        if not isinstance(field.default, timedelta):
            return f"`{ast.unparse(node)}`"
    return _shown(field.default)


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        shown = str(value).lower()
    elif isinstance(value, timedelta):
        shown = TypeAdapter(timedelta).dump_python(value, mode="json")
    elif isinstance(value, float):
        shown = f"{value:g}"
    elif isinstance(value, tuple):
        shown = ",".join(value)
    else:
        shown = "" if value is None else str(value)
    return f"`{shown}`" if shown else ""


def _values(field: FieldInfo) -> str:
    kinds = [kind for kind in _alternatives(field.annotation) if kind is not type(None)]
    (kind,) = kinds
    if get_origin(kind) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(kind))
    if get_origin(kind) is tuple:
        of = get_args(kind)[0]
        return "names" if of is str or get_origin(of) is Literal else "JSON"
    if kind is bool:
        return "`true`, `false`"
    if kind in (int, float):
        return _bounds(field) or kind.__name__
    return {"timedelta": "seconds, ISO 8601", "str": "text", "SecretStr": "text"}.get(
        getattr(kind, "__name__", ""), "path"
    )


def _alternatives(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if re.search(r"\| None$", str(annotation)) else (annotation,)


def _bounds(field: FieldInfo) -> str:
    least = next((f"{m.ge:,}" for m in field.metadata if isinstance(m, Ge)), "")
    above = next((f"above {m.gt:,}" for m in field.metadata if isinstance(m, Gt)), "")
    most = next((f"{m.le:,}" for m in field.metadata if isinstance(m, Le)), "")
    low = least or above
    return f"{low} to {most}" if most else f"{low} or more" * bool(low)
