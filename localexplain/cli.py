"""The command line: reads flags and the environment, calls the pipeline, prints.

Exit 0 done, 1 our fault, 2 the user's.

Results go to standard output, progress and errors to standard error; with --json standard output is one JSON value.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from localexplain import __version__
from localexplain.errors import LocalexplainError, UserError

if TYPE_CHECKING:
    from rich.console import Console

    from localexplain.pipeline.config import RunConfig
    from localexplain.pipeline.run import Run
    from localexplain.progress import Watcher

DONE, OUR_FAULT, USERS_FAULT = 0, 1, 2
NO_ROOM_ERRNOS = ("ENOSPC", "EFBIG", "EDQUOT")
STAGES = ("capture", "explain", "simulate", "score")
# Flags that stand for one configuration key each; the others are reached with --set.
FLAG_KEYS = {
    "subject": "subject",
    "texts": "corpus.path",
    "text_field": "corpus.text_field",
    "units": "explain.units",
    "explainer": "explain.explainer",
    "simulator": "simulate.simulator",
    "mode": "simulate.prompt.mode",
    "seed": "seed",
}
OFFLINE = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "TORCH_CPP_LOG_LEVEL": "ERROR",  # torch warns about machines without NUMA
    "LOGNAME": str(os.getuid()),  # else torch asks the system who the user is, and that may ask over the network
    "TOKENIZERS_PARALLELISM": "false",  # its threads and a later fork do not go together, and it warns about it
}


# arguments -----------------------------------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, as every other error is said."""

    def error(self, message: str) -> NoReturn:
        self.exit(USERS_FAULT, f"localexplain: {message}; see {self.prog} --help\n")


def natural_number(text: str) -> int:
    """Raises ValueError, which argparse reports, for what is no number or below 0."""
    if (number := int(text)) < 0:
        raise ValueError
    return number


def add_config_flags(parser: argparse.ArgumentParser) -> None:
    flags = parser.add_argument_group("settings (stored with the run; those not given keep the run's, or the default)")
    flags.add_argument("--config", type=Path, metavar="FILE", help="a TOML file of settings, see docs/configuration.md")
    flags.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any setting, may be repeated")
    flags.add_argument("--subject", metavar="MODEL", help="folder of the model to explain, or a shipped one's name")
    flags.add_argument("--texts", metavar="PATH", help=".txt, .jsonl, .parquet, a folder of these, or demo")
    flags.add_argument("--text-field", metavar="NAME", help="field of .jsonl and .parquet that holds the text")
    flags.add_argument("--units", metavar="CHOICE", help="units to explain: all, sample:N, or a list mlp.0,mlp.3:127")
    flags.add_argument("--explainer", metavar="MODEL", help="lookup, or folder or name of a language model")
    flags.add_argument("--simulator", metavar="MODEL", help="rule, or folder or name of a language model")
    flags.add_argument("--mode", choices=["expected", "grid", "rule"], help="how the simulator is read")
    flags.add_argument("--engine", choices=["transformers", "vllm"], help="what runs explainer and simulator")
    flags.add_argument("--seed", type=int, metavar="N")


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON value and nothing else")


def build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="localexplain",
        description="Explains what the neurons inside a language model do, with open-weight models, fully offline.",
    )
    parser.add_argument("--version", action="version", version=f"localexplain {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="the whole pipeline on the model and the texts that ship")
    demo.add_argument("--out", type=Path, default=Path("demo-run"), metavar="DIR", help="run folder, made if missing")
    demo.add_argument(
        "--explainer", choices=["tiny-explainer-12m", "lookup"], default="tiny-explainer-12m", help="lookup: no model"
    )
    add_json(demo)

    run = commands.add_parser("run", help="all four stages; goes on where an earlier call stopped")
    run.add_argument("run", type=Path, metavar="RUN", help="run folder, made if it is not there")
    add_config_flags(run)
    add_json(run)
    about = {
        "capture": "texts through the subject model: excerpts, statistics, records",
        "explain": "records to explanations",
        "simulate": "explanations and controls to predicted activations",
        "score": "predicted against true activations",
    }
    for stage in STAGES:
        single = commands.add_parser(stage, help=about[stage])
        single.add_argument("run", type=Path, metavar="RUN", help="run folder")
        if stage != "capture":
            single.add_argument("--retry-failed", action="store_true", help="try items again that failed before")
        add_config_flags(single)
        add_json(single)

    show = commands.add_parser("show", help="a run, or one of its neurons, in the terminal")
    show.add_argument("run", type=Path, metavar="RUN")
    show.add_argument("unit", nargs="?", metavar="UNIT", help="for instance mlp.3:127")
    add_json(show)

    sql = commands.add_parser("sql", help="a query over a run's tables")
    sql.add_argument("run", type=Path, metavar="RUN")
    sql.add_argument("query", metavar="QUERY")
    add_json(sql)

    report = commands.add_parser("report", help="a run as one self-contained HTML file")
    report.add_argument("run", type=Path, metavar="RUN")
    report.add_argument("--out", type=Path, metavar="FILE", help="default: RUN/report.html")
    report.add_argument(
        "--units", type=natural_number, default=20, metavar="N", help="best, worst and random units shown, each"
    )
    add_json(report)

    add_json(commands.add_parser("doctor", help="what this machine can run, and why not"))

    train = commands.add_parser("train", help="train the small models that ship, on your own texts")
    kinds = train.add_subparsers(dest="kind", required=True, metavar="KIND")
    subject = kinds.add_parser("subject", help="a small GPT-2; the same call resumes")
    subject.add_argument("--texts", required=True, metavar="FOLDER")
    subject.add_argument("--out", required=True, metavar="DIR")
    subject.add_argument("--text-field", default="text", metavar="NAME")
    subject.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the recipe")
    add_json(subject)
    explainer = kinds.add_parser("explainer", help="a small model that explains, simulates and judges; likewise")
    explainer.add_argument(
        "--texts", required=True, metavar="FOLDER", help="texts; wordnet.jsonl in it gives word sets"
    )
    explainer.add_argument("--out", required=True, metavar="DIR")
    explainer.add_argument("--data", default="", metavar="DIR", help="training set, shared by sizes; default: OUT/data")
    explainer.add_argument("--size", default="12m", choices=["1m", "4m", "12m"])
    explainer.add_argument("--text-field", default="text", metavar="NAME")
    explainer.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of the recipe")
    add_json(explainer)
    add_eval(commands)
    return parser


def add_eval(commands: Any) -> None:
    evaluate = commands.add_parser("eval", help="how good explainers and simulators are")
    kinds = evaluate.add_subparsers(dest="kind", required=True, metavar="KIND")
    planted = kinds.add_parser("planted", help="on held-out planted units, whose truth is known")
    puzzles = kinds.add_parser("puzzles", help="on puzzles: the true explanation beside false ones")
    for single in (planted, puzzles):
        single.add_argument("--models", metavar="A,B", help="names or folders; default: the three small ones that ship")
        single.add_argument("--mode", choices=["expected", "grid"], default="expected", help="how simulators are read")
        single.add_argument("--engine", choices=["transformers", "vllm"], default="transformers")
        single.add_argument("--dtype", choices=["float32", "bfloat16", "float16"], default="float32")
        single.add_argument("--seed", type=natural_number, default=0, metavar="N")
        add_json(single)
    planted.add_argument("--simulator", metavar="MODEL", help="scores the explanations; default: the largest of ours")
    planted.add_argument("--quick", action="store_true", help="every second unit, one phrasing: a sixth of the work")
    puzzles.add_argument("--file", type=Path, metavar="FILE", help="puzzles of the published format; default: ours")


# progress ------------------------------------------------------------------------------------------------------------


def make_watcher() -> "Watcher":
    """Bars with rate and time left on standard error; nothing where that is no terminal."""
    from localexplain.progress import Silent

    if not sys.stderr.isatty():
        return Silent()
    from localexplain.report.bars import Bars

    return Bars()


# the pipeline --------------------------------------------------------------------------------------------------------


def settings_from(arguments: argparse.Namespace) -> list[str]:
    """The flags as KEY=VALUE settings, --set last."""
    given = {key: getattr(arguments, flag, None) for flag, key in FLAG_KEYS.items()}
    found = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in given.items() if value is not None]
    if (engine := getattr(arguments, "engine", None)) is not None:
        found += [f'explain.engine.kind="{engine}"', f'simulate.engine.kind="{engine}"']
    simulator = getattr(arguments, "simulator", None)
    if simulator is not None and getattr(arguments, "mode", None) is None:
        found.append(f'simulate.prompt.mode="{"rule" if simulator == "rule" else "expected"}"')
    return found + list(getattr(arguments, "set", []))


def open_run(folder: Path, arguments: argparse.Namespace, base: Path | None = None) -> "tuple[Run, RunConfig]":
    """The run folder, open for writing, and its settings: those of `base` or --config, else the stored ones, with the
    flags over them."""
    from localexplain.pipeline.config import RunConfig
    from localexplain.pipeline.main import check_inputs, stored_config
    from localexplain.pipeline.run import Run
    from localexplain.settings import build_settings, read_toml
    from localexplain.store.store import open_for_writing

    file = base or getattr(arguments, "config", None)
    tables = read_toml(file) if file else None
    settings = settings_from(arguments)
    if tables is not None or not (folder / "run.duckdb").exists():
        config = build_settings(tables or {}, settings, RunConfig)
        check_inputs(config)  # what is wrong is said before a folder is made
        return Run(folder=folder, store=open_for_writing(folder), watcher=make_watcher()), config
    run = Run(folder=folder, store=open_for_writing(folder), watcher=make_watcher())
    return run, build_settings(stored_config(run), settings, RunConfig)


def work(
    folder: Path, arguments: argparse.Namespace, stages: Sequence[str], base: Path | None = None
) -> dict[str, Any]:
    """Runs the stages and returns the run's summary."""
    from localexplain.pipeline.main import run_stages

    run, config = open_run(folder, arguments, base)
    with run.store, run.stop.listening():
        try:
            return run_stages(run, config, stages, retry_failed=getattr(arguments, "retry_failed", False))
        finally:
            run.watcher.end()  # a bar that is still drawn would cut into the message


def make_console() -> "Console":
    """Standard output; where its reader is gone it says so like a plain print, and not by exiting with our fault."""
    from rich.console import Console

    class Output(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return Output()


def print_json(value: Any) -> None:
    print(json.dumps(value, ensure_ascii=False, default=str))


def show_result(folder: Path, summary: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(summary)
        return
    from localexplain.report.terminal import print_run
    from localexplain.store.store import open_for_reading

    with open_for_reading(folder) as store:
        print_run(store, make_console())


def command_demo(arguments: argparse.Namespace) -> None:
    from localexplain.resources import resource

    file = "demo-lookup.toml" if arguments.explainer == "lookup" else "demo.toml"
    del arguments.explainer  # the file says which; as a flag it would stand over it
    summary = work(arguments.out, arguments, STAGES, base=resource("eval", file))
    show_result(arguments.out, summary, arguments.json)
    if not arguments.json:
        print(f"\nNext: localexplain show {arguments.out} UNIT | localexplain report {arguments.out}")


def command_run(arguments: argparse.Namespace) -> None:
    show_result(arguments.run, work(arguments.run, arguments, STAGES), arguments.json)


def command_stage(arguments: argparse.Namespace) -> None:
    if arguments.command != "capture" and not (arguments.run / "run.duckdb").exists():
        raise UserError(f"{arguments.run}: not a run folder; make one with `localexplain capture {arguments.run}`")
    summary = work(arguments.run, arguments, [arguments.command])
    show_result(arguments.run, summary, arguments.json)


def command_show(arguments: argparse.Namespace) -> None:
    from localexplain.report.terminal import print_run, print_unit
    from localexplain.report.values import run_values, unit_values
    from localexplain.store.store import open_for_reading

    with open_for_reading(arguments.run) as store:
        if arguments.json:
            print_json(unit_values(store, arguments.unit) if arguments.unit else run_values(store))
        elif arguments.unit:
            print_unit(store, arguments.unit, make_console())
        else:
            print_run(store, make_console())


def command_sql(arguments: argparse.Namespace) -> None:
    from localexplain.report.rows import print_table
    from localexplain.store.store import open_for_reading, query_rows

    with open_for_reading(arguments.run) as store:
        rows = query_rows(store, arguments.query)
    if arguments.json:
        print_json(rows.to_pylist())
    else:
        print_table(rows, make_console())


def command_report(arguments: argparse.Namespace) -> None:
    from localexplain.report.html import write_report
    from localexplain.store.store import open_for_reading

    path = arguments.out or arguments.run / "report.html"
    with open_for_reading(arguments.run) as store:
        size = write_report(store, path, arguments.units)
    if arguments.json:
        print_json({"path": str(path), "bytes": size})
    else:
        print(f"{path}: {size / 1e6:.1f} MB, opens from disk in any browser")


def command_doctor(arguments: argparse.Namespace) -> None:
    from dataclasses import asdict

    from localexplain.doctor import diagnose, print_checks

    checks = diagnose()
    if arguments.json:
        print_json([asdict(check) for check in checks])
    else:
        print_checks(checks, make_console())


def command_train(arguments: argparse.Namespace) -> None:
    from localexplain.settings import build_settings

    fixed = {"texts": arguments.texts, "out": arguments.out, "text_field": arguments.text_field}
    if arguments.kind == "subject":
        from localexplain.train.subject import SubjectTraining, train_subject

        card = train_subject(build_settings(fixed, arguments.set, SubjectTraining), report=say)
    else:
        from localexplain.train.explainer import train_explainer
        from localexplain.train.explainer_settings import ExplainerTraining

        fixed |= {"data": arguments.data, "size": arguments.size}
        card = train_explainer(build_settings(fixed, arguments.set, ExplainerTraining), report=say)
    if arguments.json:
        print_json(card)
    else:
        print(json.dumps(card, indent=2))


def say(line: str) -> None:
    """Progress of what has no bar."""
    print(line, file=sys.stderr, flush=True)


def command_eval(arguments: argparse.Namespace) -> None:
    from localexplain.evaluate.bench import (
        LARGEST,
        OWN_MODELS,
        BenchConfig,
        measure_all_puzzles,
        measure_planted,
        planted_values,
        puzzle_values,
    )
    from localexplain.evaluate.tables import print_planted, print_puzzles
    from localexplain.pipeline.config import EngineConfig

    names = tuple(name.strip() for name in (arguments.models or "").split(",") if name.strip())
    config = BenchConfig(
        models=names or OWN_MODELS,
        simulator=getattr(arguments, "simulator", None) or LARGEST,
        mode=arguments.mode,
        engine=EngineConfig(kind=arguments.engine, dtype=arguments.dtype),
        seed=arguments.seed,
        quick=getattr(arguments, "quick", False),
    )
    if arguments.kind == "planted":
        values = planted_values(measure_planted(config, say), config)
        show_values = print_planted
    else:
        values = puzzle_values(measure_all_puzzles(config, arguments.file, say), config.seed)
        show_values = print_puzzles
    if arguments.json:
        print_json(values)
    else:
        show_values(values, make_console())


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "demo": command_demo,
    "run": command_run,
    **dict.fromkeys(STAGES, command_stage),
    "show": command_show,
    "sql": command_sql,
    "report": command_report,
    "doctor": command_doctor,
    "train": command_train,
    "eval": command_eval,
}


# the outermost door --------------------------------------------------------------------------------------------------


def complain(message: str) -> None:
    print(f"localexplain: {' '.join(message.split())}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    import errno

    for name, value in OFFLINE.items():
        os.environ.setdefault(name, value)
    arguments = build_parser().parse_args(argv)
    try:
        COMMANDS[arguments.command](arguments)
        sys.stdout.flush()  # a reader that is gone, or a full disk, shows here and not after the last line of main
    except UserError as error:
        complain(str(error))
        return USERS_FAULT
    except LocalexplainError as error:
        complain(str(error))
        return OUR_FAULT
    except KeyboardInterrupt:
        complain("stopped at once; what was stored before stays: run the same command again to go on from there")
        return USERS_FAULT
    except BrokenPipeError:
        with suppress(OSError):
            sys.stdout.close()
        return DONE
    except OSError as error:
        if error.errno not in {getattr(errno, name) for name in NO_ROOM_ERRNOS}:
            raise
        complain(
            f"no room left on the disk for {error.filename or 'the output'}; free some, then run the same command again"
        )
        return USERS_FAULT
    return DONE


if __name__ == "__main__":
    sys.exit(main())
