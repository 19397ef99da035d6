"""The commands of `localexplain eval`: how good explainers and simulators are."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localexplain.errors import UserError
from localexplain.output import make_console, print_json, say

if TYPE_CHECKING:
    from localexplain.evaluate.bench import BenchConfig
    from localexplain.pipeline.config import RunConfig
    from localexplain.report.document import Document
    from localexplain.score.summary import Summary


def bench_config(arguments: argparse.Namespace) -> "BenchConfig":
    from localexplain.evaluate.bench import LARGEST, OWN_MODELS, BenchConfig
    from localexplain.pipeline.config import EngineConfig
    from localexplain.pipeline.store_paths import read_models, with_path

    store = arguments.store
    models = read_models(store)
    names = tuple(name.strip() for name in (arguments.models or "").split(",") if name.strip())
    return BenchConfig(
        models=tuple(with_path(name, store, models) for name in names) or OWN_MODELS,
        simulator=with_path(getattr(arguments, "simulator", None) or LARGEST, store, models),
        mode=arguments.mode,
        engine=EngineConfig(kind=arguments.engine, dtype=arguments.dtype),
        seed=arguments.seed,
        quick=getattr(arguments, "quick", False),
    )


def eval_planted(arguments: argparse.Namespace) -> None:
    from localexplain.evaluate.bench import measure_planted, planted_values
    from localexplain.evaluate.tables import print_planted

    config = bench_config(arguments)
    values = planted_values(measure_planted(config, say), config)
    if arguments.json:
        print_json(values)
    else:
        print_planted(values, make_console())


def eval_puzzles(arguments: argparse.Namespace) -> None:
    from localexplain.evaluate.bench import measure_all_puzzles, puzzle_values
    from localexplain.evaluate.documents import puzzle_document
    from localexplain.evaluate.tables import print_puzzles
    from localexplain.report.document import write_document

    config = bench_config(arguments)
    values = puzzle_values(measure_all_puzzles(config, arguments.file, say), config.seed)
    if arguments.out is not None:
        write_document(puzzle_document(values, config.seed), arguments.out)
    if arguments.json:
        print_json(values)
    else:
        print_puzzles(values, make_console())


def show_document(document: "Document", folder: Path, as_json: bool) -> None:
    """Writes the document's three forms, and prints one of them."""
    from localexplain.report.document import to_markdown, write_document

    paths = write_document(document, folder)
    if as_json:
        print_json(document.values)
        return
    print(to_markdown(document, "figures"))
    say(f"written: {', '.join(str(path) for path in paths if path.suffix != '.svg')}")


def stored_settings(folder: Path) -> "RunConfig":
    """The settings that a run was made with. Raises RunError for a folder that is no run."""
    from localexplain.pipeline.config import RunConfig
    from localexplain.pipeline.main import stored_config
    from localexplain.pipeline.run import Run
    from localexplain.settings import build_settings
    from localexplain.store.store import FILE_NAME, open_for_writing

    if not (folder / FILE_NAME).is_file():
        raise UserError(f"{folder}: not a run folder; make one with `localexplain capture {folder}`")
    with open_for_writing(folder) as store:
        return build_settings(stored_config(Run(folder=folder, store=store)), [], RunConfig)


def eval_compare(arguments: argparse.Namespace) -> None:
    from dataclasses import replace

    from localexplain.evaluate.compare import DIFFERENCES, compare, parse_choices
    from localexplain.evaluate.documents import comparison_document
    from localexplain.pipeline.store_paths import paths_in

    base = stored_settings(arguments.run)
    if arguments.units is not None:
        base = replace(base, explain=replace(base.explain, units=arguments.units))
    found = compare(
        arguments.run,
        base,
        parse_choices(paths_in(arguments.explainers, arguments.store), "--explainers"),
        parse_choices(paths_in(arguments.simulators, arguments.store), "--simulators"),
        say,
        DIFFERENCES if arguments.difference is None else (arguments.difference,),
    )
    command = f"localexplain eval compare RUN --explainers {arguments.explainers} --simulators {arguments.simulators}"
    show_document(
        comparison_document(found, "Explainers compared", command, base.seed), out_of(arguments), arguments.json
    )


def out_of(arguments: argparse.Namespace) -> Path:
    folder: Path = arguments.out or arguments.run / "comparison"
    return folder


def eval_qualify(arguments: argparse.Namespace) -> None:
    from dataclasses import asdict

    from localexplain.evaluate.cells import ModelChoice
    from localexplain.evaluate.qualify import qualify

    config = stored_settings(arguments.run)
    if config.simulate.simulator == "rule":
        raise UserError(f"{arguments.run}: its simulator is the rule, which reads no explanation; nothing to qualify")
    card = qualify(arguments.run, config, ModelChoice(name=config.simulate.simulator).label)
    if arguments.json:
        print_json(asdict(card) | {"faults": list(card.faults)})
        return
    print(f"{card.name}: {'; '.join(card.faults) or 'qualified'}")
    print(f"puzzles: truth first in {card.truth_first} of {card.n_puzzles}, pairs won {show_summary(card.pairs)}")
    print(f"planted units: true {show_summary(card.true)}, lift {show_summary(card.lift)}")
    print(f"largest difference: the same again {card.again}, in another order {card.reordered}")


def show_summary(summary: "Summary") -> str:
    """A mean with its interval, as one phrase."""
    if summary.mean is None:
        return "not measured"
    ends = "" if summary.low is None else f" ({summary.low:.3f} to {summary.high:.3f})"
    return f"{summary.mean:.3f}{ends}, n {summary.n}"


def eval_run(arguments: argparse.Namespace) -> None:
    from localexplain.evaluate.documents import suite_document
    from localexplain.evaluate.suites import check_suite, read_suite, run_suite, suite_values, with_paths

    suite = read_suite(arguments.suite)
    out = arguments.out or Path(f"{suite.name}-report")
    found = run_suite(with_paths(suite, arguments.store), out, say)
    values = suite_values(suite, found)
    show_document(suite_document(suite, found, values), out, arguments.json)
    if not arguments.check:
        return
    deviations = check_suite(suite, values)
    for item in deviations:
        say(f"{item.cell}, {item.selection}: {item.found} now, {item.wanted} in the checked-in report")
    if deviations:
        raise UserError(
            f"{len(deviations)} means differ by more than {suite.settings.tolerance} from {suite.checked_in}"
        )
    say(f"every mean is within {suite.settings.tolerance} of {suite.checked_in}")


def eval_published(arguments: argparse.Namespace) -> None:
    from localexplain.evaluate.published_documents import published_document
    from localexplain.evaluate.released import compare_own_run, compare_release
    from localexplain.pipeline.store_paths import paths_in

    if (arguments.data is None) == (arguments.run is None):
        raise UserError("give --data FOLDER for the released neurons, or --run RUN for a run of your own on GPT-2 XL")
    if arguments.run is not None:
        values = compare_own_run(arguments.run)
        show_document(
            published_document(values, "localexplain eval published --run RUN"), out_of(arguments), arguments.json
        )
        return
    folder = arguments.out or Path("published-run")
    values = compare_release(
        arguments.data,
        folder,
        release=arguments.release,
        units=arguments.units,
        neurons=arguments.neurons,
        explainer=arguments.explainer and paths_in(arguments.explainer, arguments.store),
        simulator=arguments.simulator and paths_in(arguments.simulator, arguments.store),
        seed=arguments.seed,
        report=say,
    )
    show_document(
        published_document(values, "localexplain eval published --data FOLDER"), folder / "report", arguments.json
    )


EVALUATIONS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "planted": eval_planted,
    "puzzles": eval_puzzles,
    "compare": eval_compare,
    "qualify": eval_qualify,
    "run": eval_run,
    "published": eval_published,
}
