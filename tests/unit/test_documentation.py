"""What the pages name is there: links, commands and their options, settings, alerts, tests."""

import re
import shlex
from functools import cache
from pathlib import Path

import pytest
import typer
import yaml
from markdown_it import MarkdownIt
from typer.core import TyperGroup

from docs.generator.markdown import anchor
from docs.generator.settings import variables
from gator_client.cli.app import app

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page
    for pattern in ("*.md", "docs/**/*.md", "deploy/**/*.md", "examples/**/*.md")
    for page in ROOT.glob(pattern)
    if "node_modules" not in page.parts
)
SHELL = ("console", "sh", "bash")
MARKDOWN = MarkdownIt("commonmark").enable("table")
GATOR = typer.main.get_command(app)
OPERATIONS = ROOT / "docs/operations.md"
all_pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@cache
def blocks(page: Path):
    return MARKDOWN.parse(page.read_text())


def spans(page: Path):
    return [part for block in blocks(page) for part in block.children or ()]


@cache
def anchors(page: Path) -> dict[str, str]:
    """Headings by the fragment that GitHub gives them."""
    found: dict[str, str] = {}
    for block, inside in zip(blocks(page), blocks(page)[1:], strict=False):
        if block.type == "heading_open":
            heading = "".join(part.content for part in inside.children)
            name, again = anchor(heading), 0
            while name in found:
                again += 1
                name = f"{anchor(heading)}-{again}"
            found[name] = heading
    return found


# --- links -------------------------------------------------------------------------------------


@all_pages
def test_each_link_leads_somewhere(page):
    for part in spans(page):
        target = part.attrGet("href") or part.attrGet("src") or ""
        if not target or target.startswith(("http:", "https:")):
            continue
        path, _, fragment = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if fragment:
            assert fragment in anchors(file), target


def test_each_page_of_the_documentation_is_in_its_index():
    index = ROOT / "docs/README.md"
    listed = {(part.attrGet("href") or "").partition("#")[0] for part in spans(index)}
    pages = {str(page.relative_to(index.parent)) for page in PAGES if index.parent in page.parents}
    assert pages - {index.name} <= listed


# --- commands ----------------------------------------------------------------------------------


def commands(page: Path) -> list[list[str]]:
    """The words of each simple command of the page's examples, and of `gator ...` in its text."""
    lines = [
        line
        for block in blocks(page)
        if block.type == "fence" and block.info in SHELL
        for line in typed(block.content, prompted=block.info == "console")
    ]
    lines += [
        part.content
        for part in spans(page)
        if part.type == "code_inline" and re.match(r"gator [a-z-]", part.content)
    ]
    return [command for line in lines for command in simple_commands(line)]


def typed(block: str, *, prompted: bool) -> list[str]:
    """What a reader types of a block, a command a line."""
    joined = block.replace("\\\n", " ").splitlines()
    return [line[2:] for line in joined if line.startswith("$ ")] if prompted else joined


def simple_commands(line: str) -> list[list[str]]:
    lexer = shlex.shlex(line.replace("$(", " ; "), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set(lexer.punctuation_chars):
            found.append([])
        elif found[-1] or not re.match(r"[A-Z_a-z]\w*=", word):
            found[-1].append(word)
    return [words for words in found if words]


@all_pages
def test_each_command_and_option_is_there(page):
    for words in commands(page):
        name = Path(words[0]).name
        if name == "gator" and "[OPTIONS]" not in words:
            check_gator(words[1:])
        elif name == "make":
            targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
            assert {word for word in words[1:] if re.fullmatch(r"[a-z-]+", word)} <= {*targets}
        elif name == "python" and len(words) > 1 and words[1].startswith(("deploy/", "examples/")):
            assert (ROOT / words[1]).is_file(), words


def check_gator(words: list[str]) -> None:
    """Follows the words through the command's own tree."""
    command = GATOR
    left = iter(words)
    for word in left:
        if word.startswith("-") and word != "-":
            option, _, given = word.partition("=")
            names = {name: known for known in command.params for name in known.opts}
            if option in ("-h", "--help"):
                continue
            assert option in names, f"{command.name} has no {option}"
            if not (names[option].is_flag or given):
                next(left)
        elif isinstance(command, TyperGroup):
            assert word in command.commands, f"{command.name} has no {word}"
            command = command.commands[word]


def test_what_is_not_there_is_noticed():
    check_gator(["serve", "gateway", "--listen", "0.0.0.0:1"])
    for wrong in (["rendr", "a"], ["render", "a", "--outptu", "b"], ["--token", "@file"]):
        with pytest.raises(AssertionError):
            check_gator(wrong)
    line = 'GATOR_SERVER=a:1 gator render "a | b" -o - | ffplay - && id=$(gator list --json)'
    assert simple_commands(line) == [
        ["gator", "render", "a | b", "-o", "-"],
        ["ffplay", "-"],
        ["gator", "list", "--json"],
    ]


# --- names ---------------------------------------------------------------------------------------


@cache
def sources(*patterns: str) -> str:
    return "\n".join(file.read_text() for pattern in patterns for file in ROOT.glob(pattern))


def in_sources(name: str) -> bool:
    """Whether a program names a variable that is no setting of the services."""
    patterns = ("services/**/*.py", "tests/**/*.py", "examples/clients/*/*.*", ".ci/*")
    return re.search(rf"\b{name}\b", sources(*patterns)) is not None


@all_pages
def test_each_setting_is_there(page):
    known = variables()
    prefixes = ("GATEWAY", "FRAME_GEN", "COMPOSITOR", "OPENAI", "CHANNEL", "LOG", "METRICS")
    for name in {*re.findall(r"\bGATOR_[A-Z0-9_]+\b", page.read_text())}:
        if name.endswith("_"):
            assert any(setting.startswith(name) for setting in known), name
        elif name.startswith(tuple(f"GATOR_{prefix}_" for prefix in prefixes)):
            assert name in known, name
        else:
            assert in_sources(name), name


@cache
def known_tests() -> tuple[set[str], set[str]]:
    """Their files, without .py, and their functions."""
    text = sources("tests/**/*.py")
    return (
        {file.stem for file in (ROOT / "tests").rglob("test_*.py")},
        {*re.findall(r"def (test_\w+)\(", text)},
    )


@all_pages
def test_each_test_is_there(page):
    files, functions = known_tests()
    for name in {*re.findall(r"\btest_[a-z0-9_]+", page.read_text())}:
        if name.endswith("_"):
            assert any(file.startswith(name) for file in files), name
        else:
            assert name in files | functions, name


def test_each_alert_has_its_part_of_the_page_of_operations():
    rules = yaml.safe_load((ROOT / "deploy/telemetry/rules.yaml").read_text())
    alerts = {
        rule["alert"] for group in rules["groups"] for rule in group["rules"] if "alert" in rule
    }
    headings = {heading for heading in anchors(OPERATIONS).values() if heading.startswith("Gator")}
    assert alerts <= headings


def test_each_metric_of_the_page_of_operations_is_there():
    # tests/integration/test_dashboards.py holds the other page to what services show.
    told = {*re.findall(r"\bgator_[a-z_]+\b", (ROOT / "docs/telemetry.md").read_text())}
    assert {*re.findall(r"\bgator_[a-z_]+\b", OPERATIONS.read_text())} <= told
