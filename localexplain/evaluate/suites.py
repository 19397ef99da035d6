"""Suites: a comparison as a file of settings, its report beside it, and whether running it again gives the same.

eval/suites/NAME.toml ──run_suite──> OUT/run (the store), OUT/report.md, .json, .html
eval/suites/NAME/report.json  what it gave when it was checked in
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from localexplain.errors import ConfigError, UserError
from localexplain.evaluate.cells import ModelChoice, parse_choice, run_apart
from localexplain.evaluate.compare import Comparison, compare, comparison_values
from localexplain.pipeline.config import RunConfig
from localexplain.pipeline.main import check_inputs
from localexplain.pipeline.store_paths import paths_in, with_store_paths
from localexplain.resources import resource
from localexplain.score.unit import SELECTIONS
from localexplain.settings import build_settings, read_toml

REPORT = "report.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SuiteSettings:
    """A suite as its file says it; see docs/evaluation.md.

    run         the run's settings, as `localexplain run --config` takes them
    tolerance   by how much a mean may differ from the checked-in report
    """

    title: str
    explainers: tuple[str, ...]
    simulators: tuple[str, ...]
    run: RunConfig = RunConfig()
    tolerance: float = 0.01

    def __post_init__(self) -> None:
        for name in ("explainers", "simulators"):
            if not getattr(self, name):
                raise ConfigError(f"{name} = []: names no model")
        if self.tolerance < 0:
            raise ConfigError(f"tolerance = {self.tolerance}: must not be negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """A suite and where it is from."""

    name: str
    path: Path
    settings: SuiteSettings

    @property
    def explainers(self) -> tuple[ModelChoice, ...]:
        return tuple(parse_choice(text) for text in self.settings.explainers)

    @property
    def simulators(self) -> tuple[ModelChoice, ...]:
        return tuple(parse_choice(text) for text in self.settings.simulators)

    @property
    def checked_in(self) -> Path:
        """The report that the suite gave when it was checked in; it need not be there."""
        return self.path.with_suffix("") / REPORT


def read_suite(name: str) -> Suite:
    """A suite that ships, by name, or a file. Raises UserError for one that is not there, ConfigError for what is in
    it."""
    path = Path(name)
    if not path.suffix:
        try:
            path = resource("eval", "suites", f"{name}.toml")
        except UserError as error:
            shipped = ", ".join(sorted(file.stem for file in resource("eval", "suites").glob("*.toml")))
            raise UserError(f"{name}: no such suite; there are {shipped}, or give a .toml file") from error
    settings = build_settings(read_toml(path), [], SuiteSettings)
    return Suite(name=path.stem, path=path, settings=settings)


def with_paths(suite: Suite, store: Path | None) -> Suite:
    """The suite with paths in place of names of the model store; its report keeps the names. Raises UserError for a
    manifest that was changed."""
    settings = replace(
        suite.settings,
        explainers=tuple(paths_in(text, store) for text in suite.settings.explainers),
        simulators=tuple(paths_in(text, store) for text in suite.settings.simulators),
        run=with_store_paths(suite.settings.run, store),
    )
    return replace(suite, settings=settings)


def run_suite(suite: Suite, out: Path, report: Callable[[str], None]) -> Comparison:
    """Captures, then fills every cell, in OUT/run; what is there already is not done again.

    Raises UserError and EngineError as the stages do.
    """
    config = suite.settings.run
    check_inputs(config)
    folder = out / "run"
    report(f"{suite.name}: captures {config.subject}")
    run_apart(folder, config, ("capture",))
    return compare(folder, config, suite.explainers, suite.simulators, report)


def suite_values(suite: Suite, found: Comparison) -> dict[str, Any]:
    """What the report's JSON is."""
    values = comparison_values(found.cells, found.cards, found.plan, tuple(SELECTIONS), suite.settings.run.seed)
    return {"suite": suite.name, "title": suite.settings.title, "settings": asdict(suite.settings), **values}


# the same again ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """A mean that is not what was checked in; `wanted` or `found` is None where one side has none."""

    selection: str
    cell: str
    wanted: float | None
    found: float | None


def cell_means(values: Mapping[str, Any]) -> dict[tuple[str, str], float | None]:
    """(selection, cell) -> mean score."""
    return {
        (selection, f"{cell['explainer']} by {cell['simulator']}"): cell["score"]["mean"]
        for selection, part in values["selections"].items()
        for cell in part["cells"]
    }


def find_deviations(wanted: Mapping[str, Any], found: Mapping[str, Any], tolerance: float) -> list[Deviation]:
    """The cells whose means differ by more than the tolerance, or that only one side has."""
    before, now = cell_means(wanted), cell_means(found)
    deviations: list[Deviation] = []
    for selection, cell in sorted(before.keys() | now.keys()):
        a, b = before.get((selection, cell)), now.get((selection, cell))
        same = a is None and b is None and (selection, cell) in before and (selection, cell) in now
        if not same and (a is None or b is None or abs(a - b) > tolerance):
            deviations.append(Deviation(selection=selection, cell=cell, wanted=a, found=b))
    return deviations


def check_suite(suite: Suite, values: Mapping[str, Any]) -> list[Deviation]:
    """Against the checked-in report. Raises UserError where there is none."""
    if not suite.checked_in.is_file():
        raise UserError(f"{suite.checked_in}: no checked-in report to compare with; leave --check away")
    wanted = json.loads(suite.checked_in.read_text(encoding="utf-8"))
    return find_deviations(wanted, values, suite.settings.tolerance)
