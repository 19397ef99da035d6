"""Imports point one way, and the command line answers before anything heavy is loaded."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "localexplain"
# A module may import from lower ranks and from its own package; the longest matching name decides.
RANKS = {
    "localexplain": 0,
    "localexplain.errors": 0,
    "localexplain.types": 1,
    "localexplain.keys": 1,
    "localexplain.resources": 1,
    "localexplain.files": 1,
    "localexplain.modelfiles": 2,
    "localexplain.carry": 2,
    "localexplain.carry.contents": 3,  # these two are not in what the other side gets, and look at models
    "localexplain.carry.make": 4,
    "localexplain.progress": 1,
    "localexplain.settings": 1,
    "localexplain.engines.base": 2,  # the protocol, and the choice of labels, are pure
    "localexplain.engines.labels": 2,
    "localexplain.prompts": 3,
    "localexplain.published": 2,
    "localexplain.planted": 4,
    "localexplain.score": 4,
    "localexplain.explain": 4,
    "localexplain.judge": 5,
    "localexplain.simulate": 5,  # the rule reads what the lookup explainer quotes
    "localexplain.subject": 6,
    "localexplain.engines": 6,
    "localexplain.cards": 7,  # its checks ask the engines' tokenizer
    "localexplain.store": 6,
    "localexplain.train": 7,
    "localexplain.pipeline": 8,
    "localexplain.report": 9,
    "localexplain.audit": 10,
    "localexplain.evaluate": 10,
    "localexplain.viewer": 10,
    "localexplain.api": 9,
    "localexplain.doctor": 9,
    "localexplain.arguments_carry": 3,  # the flags of `check` and `install` are those of the script on the other side
    "localexplain.arguments": 4,
    "localexplain.offline": 1,
    "localexplain.silence": 10,
    "localexplain.output": 10,  # its bars are the report's
    "localexplain.cli_audit": 11,
    "localexplain.cli_bundle": 11,
    "localexplain.cli_eval": 11,
    "localexplain.cli_models": 11,
    "localexplain.cli": 12,
}
PURE = (
    "localexplain.planted",
    "localexplain.judge",
    "localexplain.types",
    "localexplain.score",
    "localexplain.explain",
    "localexplain.simulate",
    "localexplain.keys",
)
HEAVY = ("torch", "transformers", "vllm", "outlines_core", "duckdb")


def module_name(path: Path) -> str:
    parts = ("localexplain", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(tree: ast.Module) -> list[str]:
    """Every module imported anywhere in the file, inside functions too; `from package import module` names both."""
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            found.append(node.module)
            found += [f"{node.module}.{alias.name}" for alias in node.names if (node.module, alias.name) in SUBMODULES]
    return found


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
SUBMODULES = {tuple(name.rsplit(".", 1)) for name in MODULES if "." in name}


def place(module: str) -> tuple[str, int]:
    """The ranked name that decides for a module, and its rank."""
    name = max((name for name in RANKS if module == name or module.startswith(f"{name}.")), key=len)
    return name, RANKS[name]


def test_every_module_has_a_rank_of_its_own() -> None:
    assert [name for name in MODULES if name != "localexplain" and place(name)[0] == "localexplain"] == []


@pytest.mark.parametrize("module", MODULES)
def test_no_import_runs_back(module: str) -> None:
    name, rank = place(module)
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    for imported in imported_modules(tree):
        if imported.split(".")[0] != "localexplain" or imported == "localexplain":
            continue
        other, other_rank = place(imported)
        inside = other == name or other.startswith(f"{name}.")  # a package may use the parts of it ranked apart
        assert other_rank < rank or inside, f"{module} imports {imported}"


@pytest.mark.parametrize("module", [name for name in MODULES if name.startswith(PURE)])
def test_pure_modules_import_nothing_heavy(module: str) -> None:
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    assert [name for name in imported_modules(tree) if name.split(".")[0] in HEAVY] == []


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; import localexplain.cli; from localexplain.arguments import build_parser; "
        "build_parser(); print(*sorted(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "localexplain.cli" in loaded
    assert [name for name in (*HEAVY, "numpy", "pyarrow", "pydantic", "rich") if name in loaded] == []
