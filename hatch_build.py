"""Puts what ships beside the code into the wheel, as localexplain/_data; an editable install reads the checkout."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SHIPPED = (
    "prompts",
    "models",
    "eval/demo-texts",
    "eval/demo.toml",
    "eval/demo-lookup.toml",
    "eval/planted",
    "eval/puzzles",
    "eval/published",
    "eval/suites",
    "requirements",
)


class ShippedFiles(BuildHookInterface):
    """Called by hatchling for every build of a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if version != "editable":
            root = Path(self.root)
            build_data["force_include"].update({str(root / path): f"localexplain/_data/{path}" for path in SHIPPED})
