"""The house rules: who imports whom, what loads early, how long a file is, what is installed, what pages promise."""

from __future__ import annotations

import ast
import configparser
import importlib
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
APPLICATIONS = ("training", "data_prep", "eval", "demo")
LAYERS = (
    {"errors"},
    {"schema"},
    {"config", "plugins", "progress", "registry", "storage"},
    {"geo", "text", "formats", "presets", "samples"},
    {"metrics", "corruptions", "evidence", "wording", "perceptual", "hamming", "overlap", "pages"},
    {"models"},
    {"tools", "doctor", "scoring"},
    {"chat"},
    {"scene", "agent", "model_options", "best_of"},
    {"serve"},
    {"commands"},
    {"cli"},
)
RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}
HEAVY = {"torch", "torchvision", "transformers", "peft", "accelerate", "open_clip", "gradio", "deepspeed", "flash_attn"}
WITHOUT_TORCH = {name for layer in LAYERS[:5] for name in layer}
TOP_LEVEL = {
    *(".ci", ".gitattributes", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "Makefile"),
    *("README.md", "constraints.txt", "pyproject.toml", "setup.cfg"),
    *("lhrs_chat", *APPLICATIONS, "tests", "bench", "docs"),
}
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 80
VAGUE_NAMES = {"util", "utils", "misc", "common", "base", "helper", "helpers"}
MACHINE_PATH = re.compile(r"(?<![\w./~-])/(?:work|tmp|root|opt|mnt)/[\w.]")
BINARY_SUFFIXES = {".tif", ".tiff", ".png", ".jpg", ".jp2", ".gif", ".safetensors", ".npz", ".npy", ".gpkg", ".parquet"}


@cache
def repository_files() -> tuple[Path, ...]:
    """List what git tracks or would track, relative to the root, without files that were deleted."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return tuple(sorted(Path(name) for name in set(out.split("\0")) if name and (ROOT / name).is_file()))


def python_files(*folders: str) -> list[Path]:
    return [path for path in repository_files() if path.suffix == ".py" and (not folders or path.parts[0] in folders)]


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"), str(path))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, absolute dotted name) for every import of a file, wherever in the file it stands."""
    package = path.parent.parts
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else ()
            if node.level > len(package):
                start = ("<outside>",)
            module = ".".join((*start, *(node.module.split(".") if node.module else ())))
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def dynamic_imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, name) for `importlib.import_module("name")` and `__import__("name")` with a literal name."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if called in {"import_module", "__import__"} and isinstance(node.args[0].value, str):
                yield node.lineno, node.args[0].value


def part_of(name: str) -> str:
    """Return the part of the library a dotted name belongs to: `lhrs_chat.geo.x` -> geo."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else ""


def test_every_part_of_the_library_has_a_layer() -> None:
    parts = {Path(path.parts[1]).stem for path in python_files("lhrs_chat")} - {"__init__", "__main__"}
    assert parts <= set(RANK), f"give these a place in LAYERS: {sorted(parts - set(RANK))}"


def test_library_imports_point_one_way() -> None:
    breaches = []
    for path in python_files("lhrs_chat"):
        own = Path(path.parts[1]).stem
        if own not in RANK:
            continue
        for line, name in imports(path):
            other = part_of(name)
            if name.split(".")[0] == "lhrs_chat" and other in RANK and RANK[other] > RANK[own]:
                breaches.append(f"{path}:{line}: {own} imports {name}")
    assert not breaches, "\n".join(breaches)


def test_parts_of_one_layer_do_not_import_each_other_in_a_circle() -> None:
    edges = set()
    for path in python_files("lhrs_chat"):
        own = Path(path.parts[1]).stem
        edges |= {(own, part_of(name)) for _, name in imports(path) if name.startswith("lhrs_chat.")}
    circles = sorted((a, b) for a, b in edges if a < b and a in RANK and b in RANK and (b, a) in edges)
    assert not circles


def test_library_does_not_import_applications() -> None:
    foreign = {*APPLICATIONS, "bench", "tests"}
    breaches = []
    for path in python_files("lhrs_chat"):
        for line, name in (*imports(path), *dynamic_imports(path)):
            parts = name.split(".")
            if parts[0] in foreign or (parts[0] == "lhrs_chat" and len(parts) > 1 and parts[1] in APPLICATIONS):
                breaches.append(f"{path}:{line}: {name}")
    assert not breaches, "\n".join(breaches)


def test_applications_import_the_library_and_themselves_only() -> None:
    breaches = []
    for path in python_files(*APPLICATIONS, "bench"):
        for node in ast.walk(tree(path)):
            relative = isinstance(node, ast.ImportFrom) and node.level > 0
            if relative and node.level >= len(path.parts):
                breaches.append(f"{path}:{node.lineno}: a relative import that leaves the application")
        if path.parts[0] in APPLICATIONS:  # they have two names: `eval` in a checkout, `lhrs_chat.eval` in a wheel
            own_by_name = {line for line, _ in absolute_imports(path, path.parts[0])}
            breaches += [f"{path}:{line}: imports itself by name, use a relative import" for line in own_by_name]
        measured = {"training"} if path.parts[0] == "bench" else set()  # a step is timed in the process that takes it
        for other in {*APPLICATIONS, "bench", "tests"} - {path.parts[0]} - measured:
            breaches += [f"{path}:{line}: {name}" for line, name in absolute_imports(path, other)]
        for application in APPLICATIONS:
            breaches += [f"{path}:{line}: {name}" for line, name in absolute_imports(path, f"lhrs_chat.{application}")]
    assert not breaches, "\n".join(breaches)


def absolute_imports(path: Path, root: str) -> Iterator[tuple[int, str]]:
    """Yield the imports of `root` or of something below it that a file writes with the full name."""
    for node in ast.walk(tree(path)):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            if name == root or name.startswith(f"{root}."):
                yield node.lineno, name


def test_light_parts_never_name_torch() -> None:
    breaches = []
    for path in python_files("lhrs_chat"):
        if Path(path.parts[1]).stem in WITHOUT_TORCH:
            found = (*imports(path), *dynamic_imports(path))
            breaches += [f"{path}:{line}: {name}" for line, name in found if name.split(".")[0] in HEAVY]
    assert not breaches, "\n".join(breaches)


def loaded_by(code: str) -> set[str]:
    """Run code in a fresh interpreter and return the heavy packages it loaded."""
    report = "\nimport sys\nprint('LOADED', *sorted({name.split('.')[0] for name in sys.modules}))"
    command = [sys.executable, "-c", code + report]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return HEAVY & set(result.stdout.splitlines()[-1].split()[1:])


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import lhrs_chat") == set()


def test_importing_the_light_parts_loads_nothing_heavy() -> None:
    paths = [path for path in python_files("lhrs_chat") if Path(path.parts[1]).stem in WITHOUT_TORCH]
    names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths]
    assert loaded_by("\n".join(f"import {name}" for name in names)) == set()


def test_help_loads_nothing_heavy() -> None:
    code = "import contextlib, lhrs_chat.cli\nwith contextlib.suppress(SystemExit):\n    lhrs_chat.cli.main(['--help'])"
    assert loaded_by(code) == set()


def test_files_are_short() -> None:
    lengths = {path: len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in python_files()}
    assert {str(path): n for path, n in lengths.items() if n >= MAX_FILE_LINES} == {}


def test_functions_are_short() -> None:
    long = {}
    for path in python_files():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines >= MAX_FUNCTION_LINES:
                    long[f"{path}:{node.lineno} {node.name}"] = lines
    assert long == {}


def test_names_say_what_is_inside() -> None:
    assert [str(path) for path in repository_files() if {Path(part).stem for part in path.parts} & VAGUE_NAMES] == []


def test_top_level_is_the_designed_one() -> None:
    assert {path.parts[0] for path in repository_files()} <= TOP_LEVEL


def test_tests_are_not_packages() -> None:
    assert [str(path) for path in python_files("tests") if path.name == "__init__.py"] == []


def test_no_path_of_one_machine() -> None:
    found = []
    for path in repository_files():
        if path.suffix not in BINARY_SUFFIXES:
            text = (ROOT / path).read_bytes().decode("utf-8", errors="ignore")
            found += [f"{path}: {match.group()}" for match in MACHINE_PATH.finditer(text)]
    assert found == []


@pytest.mark.parametrize(
    ("text", "caught"),
    [
        ("open('/" + "tmp/x')", True),
        ("cd /" + "work/main", True),
        ("see ~/" + "work/x", False),
        ("https://host/" + "root/x", False),
        ("a/" + "tmp/x", False),
    ],
)
def test_machine_paths_are_recognised(text: str, caught: bool) -> None:
    assert bool(MACHINE_PATH.search(text)) is caught


# What the pages tell the reader to type.


def commands_of(page: Path) -> list[str]:
    """Return the commands of a page's ```bash blocks, or of a script: lines joined, prompts and folders taken off."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if page.suffix == ".md":
        text = "\n".join(re.findall(r"^```(?:bash|sh|console)\n(.*?)^```", text, re.M | re.S))
    lines = text.replace("\\\n", " ").splitlines()
    commands = [re.sub(r"^\s*(\$ )?(\$\(BIN\)/|\.venv/bin/)?", "", line) for line in lines]
    return [line for line in commands if re.match(r"(make|lhrs-chat|python3? -m)\b(?! *[:+?]?=)", line)]


SCRIPTS = (Path("Makefile"), Path(".ci/run"))
PAGES = [*(path for path in repository_files() if path.suffix == ".md"), *SCRIPTS]


@cache
def make_targets() -> frozenset[str]:
    return frozenset(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))


@cache
def cli_help(verb: str) -> str:
    """Return the help of a verb, or of the command itself for ''."""
    code = "import sys, lhrs_chat.cli; sys.exit(lhrs_chat.cli.main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, *([verb] if verb else []), "--help"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"lhrs-chat {verb} --help failed: {result.stderr}"
    return result.stdout


def complaint(command: str) -> str:
    """Say what is wrong with a command of a page, or return an empty string."""
    words = shlex.split(re.split(r"\s(?:\d?>|\||&&|;)", command)[0], comments=True)
    if words[0] == "make":
        wrong = [word for word in words[1:] if "=" not in word and word not in make_targets()]
        return f"no such make target: {wrong}" if wrong else ""
    if words[0] == "lhrs-chat":
        verb = words[1] if len(words) > 1 and not words[1].startswith("-") else ""
        if verb and not re.search(rf"^ +{re.escape(verb)} ", cli_help(""), re.M):
            return f"no such verb: {verb}"
        if verb in {"eval", "train", "prep", "demo"}:
            return ""
        flags = [word.split("=")[0] for word in words if word.startswith("--")]
        wrong = [flag for flag in flags if not re.search(rf"{re.escape(flag)}(?![\w-])", cli_help(verb))]
        return f"no such option of lhrs-chat {verb}: {wrong}" if wrong else ""
    module = words[2]
    if module.split(".")[0] in {*APPLICATIONS, "bench", "lhrs_chat"}:
        folder = ROOT / module.replace(".", "/")
        if not (folder / "__main__.py").is_file() and not folder.with_suffix(".py").is_file():
            return f"python -m {module} does not exist"
        recipe = words[3] if len(words) > 3 else ""
        if module == "training" and recipe and not recipe.startswith("-") and not Path(recipe).suffix:
            known = (ROOT / "training" / "recipes" / f"{recipe}.yaml").is_file()
            return "" if known else f"no such recipe: {recipe}"
    return ""


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_of_a_page_exist(page: Path) -> None:
    wrong = {command: complaint(command) for command in commands_of(page)}
    assert {command: why for command, why in wrong.items() if why} == {}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_of_a_page_lead_somewhere(page: Path) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#\s]+)", text)
    local = [target for target in targets if not re.match(r"[a-z]+:", target)]
    assert [target for target in local if not (ROOT / page.parent / target).exists()] == []


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ("make test", ""),
        ("make coffee", "no such make target"),
        ("python -m training no_such_recipe", "does not exist|no such recipe"),
        ("python -m eval.nowhere x", "does not exist"),
    ],
)
def test_wrong_commands_are_recognised(command: str, why: str) -> None:
    assert re.search(why, complaint(command)) if why else complaint(command) == ""


def test_scripts_open_scenes_that_ship_with_the_project() -> None:
    scenes = {
        scene for page in SCRIPTS for scene in re.findall(r"demo/scenes/[\w./-]+", (ROOT / page).read_text("utf-8"))
    }
    assert scenes
    assert {scene for scene in scenes if not (ROOT / scene).is_file()} == set()


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "example.org"])
def test_tests_have_no_network(host: str) -> None:
    with pytest.raises(RuntimeError, match="without network"):
        socket.create_connection((host, 80), timeout=1)


def test_tests_reach_their_own_computer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        socket.create_connection(server.getsockname(), timeout=5).close()


# What is installed. The builds work on a copy, so that the checkout keeps no build folder.


def setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def test_setup_cfg_lists_exactly_the_packages_there_are() -> None:
    listed = set(setup_cfg()["options"]["packages"].split())
    there = {path.parent for path in python_files("lhrs_chat", *APPLICATIONS)}
    names = {placed(folder).replace("/", ".") for folder in there}
    repair = {"add to setup.cfg [options] packages": names - listed, "take out": listed - names}
    assert {what: sorted(which) for what, which in repair.items() if which} == {}
    assert {str(folder) for folder in there if not (ROOT / folder / "__init__.py").is_file()} == set()


def test_constraints_meet_the_requirements() -> None:
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    pinned = {canonicalize_name(name): version for name, version in pinned.items()}
    config = setup_cfg()
    wanted = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    requirements = [Requirement(line) for text in wanted for line in text.splitlines() if line]
    optional = {"flash-attn", "setuptools"}
    for requirement in requirements:
        name = canonicalize_name(requirement.name)
        assert name in pinned or name in optional, f"constraints.txt lacks {name}"
        assert name in optional or requirement.specifier.contains(pinned[name]), f"{requirement} against {pinned[name]}"


@pytest.fixture(scope="module")
def source_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("source")
    for path in repository_files():
        (copy / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, copy / path)
    return copy


@pytest.fixture(scope="module")
def wheel(source_copy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder), str(source_copy))
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("site")
    pip("install", "--no-deps", "--no-index", "--target", str(site), str(wheel))
    return site


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", *arguments]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr


def run_installed(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command outside the checkout."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    command = [sys.executable, str(site / "bin" / "lhrs-chat"), *arguments]
    return subprocess.run(command, cwd=site, env=environment, capture_output=True, text=True, check=False)


def placed(path: Path) -> str:
    """Return where setup.cfg puts a file or folder: the applications go below lhrs_chat."""
    return (path if path.parts[0] == "lhrs_chat" else Path("lhrs_chat") / path).as_posix()


def shipped(path: Path) -> bool:
    """Say whether a file of the repository belongs into the wheel: code and what code reads, not pages."""
    data = path.parts[:3] == ("lhrs_chat", "models", "presets") or path.parts[:2] == ("demo", "scenes")
    return path.parts[0] in {"lhrs_chat", *APPLICATIONS} and (data or path.suffix != ".md")


def test_wheel_holds_what_git_holds_under_one_name(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name and not name.endswith("/")}
    expected = {path for path in repository_files() if shipped(path)}
    assert names == {placed(path) for path in expected}, "setup.cfg: [options] packages and [options.package_data]"
    assert {name.split("/")[0] for name in names} == {"lhrs_chat"}


def test_sdist_holds_what_git_holds(source_copy: Path, tmp_path: Path) -> None:
    code = f"import setuptools.build_meta as build; build.build_sdist({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source_copy, capture_output=True, check=True)
    (built,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(built) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    missing = {path.as_posix() for path in repository_files()} - names
    assert {name for name in missing if not name.startswith(".")} == set(), "MANIFEST.in"


def test_installed_wheel_runs_from_its_own_files(installed: Path) -> None:
    code = "from importlib.util import find_spec as f; print(f('lhrs_chat').origin); print(f('lhrs_chat.eval').origin)"
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=installed, env=environment, capture_output=True, text=True, check=True
    )
    assert all(Path(line).is_relative_to(installed) for line in result.stdout.splitlines()), result.stdout


@pytest.mark.parametrize("arguments", [("--help",), ("models", "--json"), ("prep", "--help")], ids=" ".join)
def test_installed_verb_answers(installed: Path, arguments: tuple[str, ...]) -> None:
    result = run_installed(installed, *arguments)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()
    assert "Traceback" not in result.stderr


def test_version_is_one_for_all(wheel: Path) -> None:
    version = importlib.import_module("lhrs_chat").__version__
    assert wheel.name.startswith(f"lhrs_chat-{version}-")
    assert f"## [{version}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
