"""The clients of examples/clients: what each needs, how it is built and how it is called."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "clients"
BUILT = ROOT / "build" / "clients"
"""What was built stays here, a folder for each state of an example and the protos."""
BIN = Path(sys.executable).parent
DEBIAN_GO = Path("/usr/share/gocode")
MADE = ("node_modules", "gen", "dist", "build", "*_pb2*")
"""What a user may have made in an example's folder."""

PROTOC_PYTHON = """mkdir -p gen && python -m grpc_tools.protoc -I ../../../protos \
  --python_out=gen --grpc_python_out=gen \
  $(cd ../../../protos && find gator/gateway gator/type -name '*.proto')"""
PROTOC_RUBY = """mkdir -p gen && grpc_tools_ruby_protoc -I ../../../protos \
  --ruby_out=gen --grpc_out=gen \
  $(cd ../../../protos && find gator/gateway gator/type google -name '*.proto')"""
BUF_GO = """(cd ../../.. && buf generate --template examples/clients/go/buf.gen.yaml \
  -o examples/clients/go --path protos/gator/gateway --path protos/gator/type)"""
# Without modules, which would be fetched: Debian's packages in a GOPATH.
GO_DEBIAN = f"""cp {Path(__file__).parent}/debian_codec.go .
  mkdir -p build/src/gator.example && ln -sfn ../../.. build/src/gator.example/render
  export GO111MODULE=off GOPATH=$PWD/build:{DEBIAN_GO} GOCACHE={BUILT}/go-cache
  cd build/src/gator.example/render && go build -o build/render ."""


@dataclass(frozen=True)
class Example:
    """A client and how to run it: COMMAND TARGET OUT QUALITY PROMPT..."""

    folder: str
    command: Sequence[str]
    build: str = "true"
    """Shell lines, run in the example's folder."""
    tools: Sequence[str] = ()
    files: Sequence[Path] = ()
    """What must be on this machine beside the tools."""
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def missing(self) -> str:
        """What this machine lacks to build and run it; empty where nothing."""
        lacking = [tool for tool in self.tools if not shutil.which(tool, path=_path())]
        lacking += [str(file) for file in self.files if not file.exists()]
        return ", ".join(lacking)


EXAMPLES_BY_NAME: Mapping[str, Example] = {
    "python": Example("python", ["python", "render.py"]),
    "python-stubs": Example("python", ["python", "stubs.py"], PROTOC_PYTHON),
    "node": Example("node", ["node", "render.js"], "npm ci", ["node", "npm"]),
    "node-stream": Example("node", ["node", "stream.js"], "npm ci", ["node", "npm"]),
    "go": Example(
        "go",
        ["build/render"],
        f"{BUF_GO}\n{GO_DEBIAN}",
        ["go", "protoc-gen-go", "protoc-gen-go-grpc"],
        [DEBIAN_GO / "src/google.golang.org/grpc", DEBIAN_GO / "src/google.golang.org/genproto"],
    ),
    "cpp": Example(
        "cpp",
        ["build/render"],
        "cmake -B build && cmake --build build --parallel 2",
        ["cmake", "g++", "pkg-config", "protoc", "grpc_cpp_plugin"],
        [Path("/usr/include/grpcpp/grpcpp.h")],
    ),
    "ruby": Example(
        "ruby", ["ruby", "-I", "gen", "render.rb"], PROTOC_RUBY, ["ruby", "grpc_tools_ruby_protoc"]
    ),
    "java": Example(
        "java",
        ["java", "@build/options", "Render"],
        "./build.sh",
        ["java", "javac", "protoc", "grpc_java_plugin"],
        [Path(f"/usr/share/java/{jar}.jar") for jar in ("grpc-netty", "netty-tcnative")],
    ),
    "grpcurl": Example(
        "grpcurl", ["./render.sh"], tools=["bash", "grpcurl", "jq", "base64", "sha256sum"]
    ),
    "rest": Example("rest", ["./render.sh"], tools=["bash", "curl", "jq", "base64", "sha256sum"]),
    "grpc-web": Example(
        "grpc-web",
        ["node", "drive.js"],
        "npm ci && npm run build",
        ["node", "npm", "buf", "chromium"],
    ),
}


@dataclass(frozen=True)
class Outcome:
    """How a client ended."""

    code: int
    stdout: str
    stderr: str


async def built(name: str) -> Path:
    """The folder of an example that is ready to run."""
    example = EXAMPLES_BY_NAME[name]
    root = BUILT / f"{example.folder}-{_state(example)}"
    folder = root / "examples" / "clients" / example.folder
    if not (root / "ready").exists():
        shutil.rmtree(root, ignore_errors=True)
        ignored = shutil.ignore_patterns(*MADE)
        shutil.copytree(EXAMPLES / example.folder, folder, ignore=ignored)
        shutil.copytree(ROOT / "protos", root / "protos")
        shutil.copy(ROOT / "buf.yaml", root)
        outcome = await run(["bash", "-euo", "pipefail", "-c", example.build], folder)
        assert outcome.code == 0, outcome
        (root / "ready").touch()
    return folder


async def render(name: str, target: str, out: Path, *prompts: str, **environment: str) -> Outcome:
    """Calls a client that was built for a draft."""
    command = [*EXAMPLES_BY_NAME[name].command, target, str(out), "draft", *prompts]
    return await run(command, await built(name), **environment)


async def run(command: Sequence[str], folder: Path, **environment: str) -> Outcome:
    """Runs a command to its end, with the tools of this environment in $PATH."""
    process = await started(command, folder, **environment)
    out, err = await process.communicate()
    return Outcome(process.returncode, out.decode(), err.decode())


async def started(
    command: Sequence[str], folder: Path, **environment: str
) -> asyncio.subprocess.Process:
    """A command that runs."""
    given = {name: value for name, value in os.environ.items() if not name.startswith("GATOR_")}
    return await asyncio.create_subprocess_exec(
        *(["env", *command] if "/" not in command[0] else [str(folder / command[0]), *command[1:]]),
        cwd=folder,
        env={**given, "PATH": _path(), **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


def _path() -> str:
    return f"{BIN}{os.pathsep}{os.environ['PATH']}"


def _state(example: Example) -> str:
    digest = hashlib.sha256(example.build.encode())
    ignored = [pattern for pattern in MADE if "*" not in pattern]
    for folder in (EXAMPLES / example.folder, ROOT / "protos"):
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            inside = file.relative_to(folder)
            if not set(inside.parts) & set(ignored):
                digest.update(f"{inside} {file.stat().st_size}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]
