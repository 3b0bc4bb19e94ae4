"""The API's reference, from the protos and their comments: a page a package, and one of errors."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from google.api import annotations_pb2
from google.protobuf import descriptor_pb2 as pb

from docs.generator.markdown import anchor, cell, first_sentence, table, text
from gator.type.v1 import video_pb2
from rpckit.errors import Reason

Field = pb.FieldDescriptorProto
Path_ = tuple[int, ...]
"""Where something stands in a file's descriptor: numbers of fields and positions in them."""

_FILE, _MESSAGE, _ENUM, _SERVICE = (12,), 4, 5, 6
"""Fields of FileDescriptorProto: its syntax, under which the file's comment stands, and so on."""
_SCALARS = {getattr(Field, name): name[5:].lower() for name in Field.Type.keys()}  # noqa: SIM118
_HTTP = {  # as google/rpc/code.proto maps them, and Envoy with it
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "INTERNAL": 500,
    "DATA_LOSS": 500,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


def pages(protos: Path) -> dict[str, str]:
    """Markdown by the name of its file."""
    files = [file for file in _described(protos) if file.package.startswith("gator.")]
    packages: dict[str, list[_File]] = {}
    for file in files:
        packages.setdefault(file.package, []).append(_File(file))
    (reasons,) = (enum for file in packages["gator.type.v1"] for enum in file.reasons())
    return {
        **{_page_of(package): _page(package, of) for package, of in packages.items()},
        "errors.md": _errors(*reasons),
    }


def _described(protos: Path) -> Sequence[pb.FileDescriptorProto]:
    sources = sorted((protos / "gator").rglob("*.proto"))
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "descriptors"
        command = [sys.executable, "-m", "grpc_tools.protoc", f"--proto_path={protos}"]
        options = ["--include_imports", "--include_source_info", f"--descriptor_set_out={out}"]
        subprocess.run([*command, *options, *map(str, sources)], check=True)  # noqa: S603 - ours
        return pb.FileDescriptorSet.FromString(out.read_bytes()).file


class _File:
    """A proto file with its comments."""

    def __init__(self, file: pb.FileDescriptorProto) -> None:
        self.file = file
        places = file.source_code_info.location
        self._comments = {tuple(at.path): at.leading_comments for at in places}

    def comment(self, path: Path_) -> str:
        """What stands before something, without the space after the slashes."""
        lines = self._comments.get(path, "").splitlines()
        return "\n".join(line.removeprefix(" ") for line in lines).strip()

    def services(self) -> Iterator[str]:
        for index, service in enumerate(self.file.service):
            yield from self._service(service, (_SERVICE, index))

    def messages(self) -> Iterator[str]:
        for index, message in enumerate(self.file.message_type):
            yield from self._message(message, (_MESSAGE, index))

    def enums(self) -> Iterator[str]:
        for index, enum in enumerate(self.file.enum_type):
            if enum.name != "ErrorReason":  # it has a page of its own
                yield from self._enum(enum, (_ENUM, index))

    def reasons(self) -> Iterator[tuple[str, Mapping[str, str]]]:
        """The file's comment, and the comment of each reason of errors; nothing elsewhere."""
        for index, enum in enumerate(self.file.enum_type):
            if enum.name == "ErrorReason":
                names = [value.name.removeprefix("ERROR_REASON_") for value in enum.value]
                told = [self.comment((_ENUM, index, 2, at)) for at in range(len(names))]
                yield self.comment(_FILE), dict(zip(names[1:], told[1:], strict=True))

    def _service(self, service: pb.ServiceDescriptorProto, path: Path_) -> Iterator[str]:
        yield f"## {service.name}"
        yield _prose(self.comment(path))
        told = [self.comment((*path, 2, at)) for at in range(len(service.method))]
        yield table(
            ["method", "what it does"],
            [
                [_method_link(service, method), cell(first_sentence(words))]
                for method, words in zip(service.method, told, strict=True)
            ],
        )
        for method, words in zip(service.method, told, strict=True):
            yield f"### {service.name}.{method.name}"
            taken = ("stream " if method.client_streaming else "") + self._link(method.input_type)
            given = ("stream " if method.server_streaming else "") + self._link(method.output_type)
            yield f"Takes {taken}, returns {given}."
            if http := _http(method):
                yield f"HTTP: {http}"
            yield _prose(words)

    def _message(self, message: pb.DescriptorProto, path: Path_) -> Iterator[str]:
        yield f"### {message.name}"
        yield _prose(self.comment(path))
        if not message.field:
            yield "It has no fields."
        rows: dict[str, list[list[str]]] = {}
        for at, field in enumerate(message.field):
            chosen = field.HasField("oneof_index") and not field.proto3_optional
            group = message.oneof_decl[field.oneof_index].name if chosen else ""
            shown = [f"`{field.name}`", self._type(field, message)]
            rows.setdefault(group, []).append([*shown, cell(self.comment((*path, 2, at)))])
        for group, of in rows.items():
            if group:
                yield f"One of these, the `{group}`:"
            yield table(["field", "type", "meaning"], of)

    def _enum(self, enum: pb.EnumDescriptorProto, path: Path_) -> Iterator[str]:
        yield f"### {enum.name}"
        yield _prose(self.comment(path))
        values = [
            [f"`{value.name}`", str(value.number), cell(self.comment((*path, 2, at)))]
            for at, value in enumerate(enum.value)
        ]
        yield table(["value", "number", "meaning"], values)
        presets = [
            (value.name, value.options.Extensions[video_pb2.preset])
            for value in enum.value
            if value.options.HasExtension(video_pb2.preset)
        ]
        if presets:
            yield table(
                ["preset", "size", "frames/s", "kbit/s at most", "H.264 level", "for"],
                [
                    [
                        *(f"`{name}`", f"{of.width}x{of.height}", str(of.fps)),
                        *(f"{of.bitrate_kbps:,}", str(of.h264_level / 10), of.use_case),
                    ]
                    for name, of in presets
                ],
            )

    def _type(self, field: Field, message: pb.DescriptorProto) -> str:
        for nested in message.nested_type:
            if field.type_name.endswith(f".{message.name}.{nested.name}"):
                key, value = (self._type(part, nested) for part in nested.field)
                return f"map of {key} to {value}"
        name = self._link(field.type_name) if field.type_name else _SCALARS[field.type]
        if field.label == Field.LABEL_REPEATED:
            return f"repeated {name}"
        return f"optional {name}" if field.proto3_optional else name

    def _link(self, type_name: str) -> str:
        package, _, name = type_name.removeprefix(".").rpartition(".")
        if package == self.file.package:
            return f"[{name}](#{name.lower()})"
        if package.startswith("gator."):
            return f"[{name}]({_page_of(package)}#{name.lower()})"
        if package == "google.protobuf":
            return (
                f"[{name}](https://protobuf.dev/reference/protobuf/google.protobuf/#{name.lower()})"
            )
        folder = package.replace(".", "/")
        source = f"https://github.com/googleapis/googleapis/blob/master/{folder}"
        return f"[{package}.{name}]({source}/{name.lower()}.proto)"


def _page_of(package: str) -> str:
    return package.split(".")[1] + ".md"


def _page(package: str, files: Sequence[_File]) -> str:
    parts = [f"# {package}", *(_source(file) for file in files)]
    for heading, kind in (
        ("", _File.services),
        ("Messages", _File.messages),
        ("Enums", _File.enums),
    ):
        pieces = [piece for file in files for piece in kind(file)]
        parts += [f"## {heading}"] * bool(pieces and heading) + pieces
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _source(file: _File) -> str:
    name = file.file.name
    return f"{_prose(file.comment(_FILE))} Source: [{name}](../../protos/{name})."


def _method_link(service: pb.ServiceDescriptorProto, method: pb.MethodDescriptorProto) -> str:
    return f"[{method.name}](#{anchor(service.name + method.name)})"


def _http(method: pb.MethodDescriptorProto) -> str:
    rule = method.options.Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    if not verb:
        return ""
    body = {"": "", "*": ", the other fields as its body"}.get(
        rule.body, f", `{rule.body}` as its body"
    )
    answer = f"; the answer is `{rule.response_body}`" if rule.response_body else ""
    return f"`{verb.upper()} {getattr(rule, verb)}`{body}{answer}."


def _prose(words: str) -> str:
    """A comment as paragraphs and examples, with links to reasons of errors and to types."""
    paragraphs = re.split(r"\n\s*\n", words)
    return "\n\n".join(_paragraph(paragraph) for paragraph in paragraphs)


def _paragraph(words: str) -> str:
    if words.startswith("    "):
        return "```json\n" + "\n".join(line[4:] for line in words.splitlines()) + "\n```"
    line = text(" ".join(words.split()))
    if line.startswith("Errors"):
        line = re.sub(r"\b[A-Z]+(?:_[A-Z]+)*\b", _reason_link, line)
    return line


def _reason_link(match: re.Match[str]) -> str:
    return f"[{Reason(match[0]).name}](errors.md#{match[0].lower()})"


def _errors(comment: str, told: Mapping[str, str]) -> str:
    rows, sections = [], []
    for name, words in told.items():
        code = Reason(name).code.name
        rows.append([f"[{name}](#{name.lower()})", code, str(_HTTP[code])])
        sections += [f"### {name}", f"`{code}`, in HTTP {_HTTP[code]}.", _prose(words)]
    what = "What to try again, and when: [clients](../clients.md#what-is-the-same-in-each)."
    parts = ["# Errors", _prose(comment), what, table(["reason", "status", "HTTP"], rows)]
    return "\n\n".join(part.strip() for part in [*parts, "## Reasons", *sections]) + "\n"
