"""The command line: reads flags and the environment, calls the pipeline, prints.

Exit 0 done, 1 our fault, 2 the user's. `doctor --offline` ends with 1 where something tried to get out or a step did
not run, with 2 where the system lets nobody prove it.

Results go to standard output, progress and errors to standard error; with --json standard output is one JSON value.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localexplain.arguments import STAGES, USERS_FAULT, build_parser, settings_from
from localexplain.errors import LocalexplainError, UserError
from localexplain.offline import OFFLINE, settle_offline
from localexplain.output import make_console, make_watcher, print_json, say

if TYPE_CHECKING:
    from localexplain.pipeline.config import RunConfig
    from localexplain.pipeline.run import Run

DONE, OUR_FAULT = 0, 1
NO_ROOM_ERRNOS = ("ENOSPC", "EFBIG", "EDQUOT")
MODEL_STORE = "LOCALEXPLAIN_MODELS"  # names the folder of models, where --store does not


# the pipeline --------------------------------------------------------------------------------------------------------


def open_run(folder: Path, arguments: argparse.Namespace, base: Path | None = None) -> "tuple[Run, RunConfig]":
    """The run folder, open for writing, and its settings: those of `base` or --config, else the stored ones, with the
    flags over them."""
    from localexplain.pipeline.config import RunConfig
    from localexplain.pipeline.main import check_inputs, stored_config
    from localexplain.pipeline.run import Run
    from localexplain.pipeline.store_paths import with_store_paths
    from localexplain.settings import build_settings, read_toml
    from localexplain.store.store import open_for_writing

    file = base or getattr(arguments, "config", None)
    tables = read_toml(file) if file else None
    settings = settings_from(arguments)
    if tables is not None or not (folder / "run.duckdb").exists():
        config = with_store_paths(build_settings(tables or {}, settings, RunConfig), arguments.store)
        check_inputs(config)  # what is wrong is said before a folder is made
        return Run(folder=folder, store=open_for_writing(folder), watcher=make_watcher()), config
    run = Run(folder=folder, store=open_for_writing(folder), watcher=make_watcher())
    return run, with_store_paths(build_settings(stored_config(run), settings, RunConfig), arguments.store)


@contextmanager
def audited(run: "Run", config: "RunConfig", arguments: argparse.Namespace) -> Iterator[None]:
    """Writes the audit that --audit asks for, however the block ends."""
    if getattr(arguments, "audit", None) is None:
        yield
        return
    from localexplain.audit.making import recording

    switches = {name: os.environ.get(name) for name in OFFLINE}
    with recording(run, config, arguments.audit, command=arguments.given, switches=switches, report=say):
        yield


def work(
    folder: Path, arguments: argparse.Namespace, stages: Sequence[str], base: Path | None = None
) -> dict[str, Any]:
    """Runs the stages and returns the run's summary."""
    from localexplain.pipeline.main import run_stages

    run, config = open_run(folder, arguments, base)
    with run.store, run.stop.listening(), audited(run, config, arguments):
        try:
            return run_stages(run, config, stages, retry_failed=getattr(arguments, "retry_failed", False))
        finally:
            run.watcher.end()  # a bar that is still drawn would cut into the message


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
        out = arguments.out
        print(f"\nNext: localexplain view {out} | localexplain show {out} UNIT | localexplain report {out}")


def command_run(arguments: argparse.Namespace) -> None:
    if arguments.audit is not None:
        from localexplain.audit.making import check_target

        check_target(arguments.audit, arguments.run)
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
    from localexplain.report.html import Choice, estimate_bytes, write_report
    from localexplain.report.reading import read_overview
    from localexplain.report.unit import find_unit
    from localexplain.store.store import open_for_reading

    path = arguments.out or arguments.run / "report.html"
    both = arguments.units
    choice = Choice(
        best=both if arguments.best is None else arguments.best,
        worst=both if arguments.worst is None else arguments.worst,
        random=both if arguments.random is None else arguments.random,
        listed=tuple(arguments.list.split(",")) if arguments.list else (),
    )
    with open_for_reading(arguments.run) as store:
        for unit in choice.listed:
            find_unit(store, unit)  # what is wrong is said before anything else
        if not path.parent.is_dir():
            raise UserError(f"{path}: there is no folder {path.parent}; give another path")
        say(f"{path}: will have about {estimate_bytes(read_overview(store), choice) / 1e6:.1f} MB")
        size = write_report(store, path, choice)
    if arguments.json:
        print_json({"path": str(path), "bytes": size})
    else:
        print(f"{path}: {size / 1e6:.1f} MB, opens from disk in any browser")


def command_view(arguments: argparse.Namespace) -> None:
    from localexplain.viewer.serve import serve

    serve(arguments.run, host=arguments.host, port=arguments.port, token=arguments.token, report=say)


def command_doctor(arguments: argparse.Namespace) -> None:
    from dataclasses import asdict

    from localexplain.doctor import diagnose, print_checks
    from localexplain.silence.proof import prove_silence, require_silence

    checks = prove_silence(os.environ, report=say) if arguments.offline else diagnose()
    if arguments.json:
        print_json([asdict(check) for check in checks])
    else:
        print_checks(checks, make_console())
    if arguments.offline:
        require_silence(checks)


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


def command_eval(arguments: argparse.Namespace) -> None:
    from localexplain.cli_eval import EVALUATIONS

    EVALUATIONS[arguments.kind](arguments)


def command_models(arguments: argparse.Namespace) -> None:
    from localexplain.cli_models import MODEL_COMMANDS

    MODEL_COMMANDS[arguments.kind](arguments)


def command_bundle(arguments: argparse.Namespace) -> None:
    from localexplain.cli_bundle import BUNDLE_COMMANDS

    BUNDLE_COMMANDS[arguments.kind](arguments)


def command_audit(arguments: argparse.Namespace) -> None:
    from localexplain.cli_audit import AUDIT_COMMANDS

    AUDIT_COMMANDS[arguments.kind](arguments)


COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "demo": command_demo,
    "run": command_run,
    **dict.fromkeys(STAGES, command_stage),
    "show": command_show,
    "sql": command_sql,
    "report": command_report,
    "view": command_view,
    "doctor": command_doctor,
    "train": command_train,
    "eval": command_eval,
    "models": command_models,
    "bundle": command_bundle,
    "audit": command_audit,
}


# the outermost door --------------------------------------------------------------------------------------------------


def complain(message: str) -> None:
    print(f"localexplain: {' '.join(message.split())}", file=sys.stderr)


def named_store(arguments: argparse.Namespace) -> Path | None:
    """The model store: --store of the commands that have it, else the one that the environment names."""
    given: Path | None = getattr(arguments, "store", None)
    named = os.environ.get(MODEL_STORE)
    return given or (Path(named) if named else None)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    import errno

    settle_offline(os.environ)
    arguments = build_parser().parse_args(argv)
    arguments.store = named_store(arguments)
    arguments.given = list(sys.argv[1:] if argv is None else argv)
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
