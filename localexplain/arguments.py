"""The command line's flags: what each command takes, and the flags as settings of a run."""

import argparse
import json
from pathlib import Path
from typing import Any, NoReturn

from localexplain import __version__
from localexplain.arguments_carry import add_audit, add_bundle, add_json, add_models

USERS_FAULT = 2
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
    run.add_argument("--audit", type=Path, metavar="FILE", help="write down what ran, to be checked later")
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
    for name in ("best", "worst", "random"):
        report.add_argument(f"--{name}", type=natural_number, metavar="N", help="instead, of these alone")
    report.add_argument("--list", metavar="UNITS", help="units shown besides: mlp.3:127,mlp.0:9")
    add_json(report)

    view = commands.add_parser("view", help="a local page to browse a run in, which may still be going on")
    view.add_argument("run", type=Path, metavar="RUN")
    view.add_argument("--port", type=natural_number, default=8000, metavar="N", help="0 takes a free one")
    view.add_argument("--host", default="127.0.0.1", metavar="NAME", help="another address needs --token")
    view.add_argument("--token", metavar="SECRET", help="asked of every visitor; new makes one")

    doctor = commands.add_parser("doctor", help="what this machine can run, and why not")
    doctor.add_argument(
        "--offline", action="store_true", help="instead: the pipeline run without a network, and what tried to get out"
    )
    add_json(doctor)

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
    add_models(commands)
    add_bundle(commands)
    add_audit(commands)
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
    puzzles.add_argument("--out", type=Path, metavar="DIR", help="keep a report there, the explainers' answers in it")
    puzzles.add_argument("--file", type=Path, metavar="FILE", help="puzzles of the published format; default: ours")
    compare = kinds.add_parser("compare", help="explainers beside explainers on a run's units, simulators likewise")
    compare.add_argument("run", type=Path, metavar="RUN", help="a captured run")
    compare.add_argument(
        "--explainers",
        required=True,
        metavar="A,B",
        help="NAME, NAME@DTYPE, NAME@DTYPE@ENGINE or ...@QUANTIZATION each",
    )
    compare.add_argument("--simulators", required=True, metavar="S,T", help="likewise; or rule")
    compare.add_argument("--difference", type=float, metavar="D", help="say beforehand how many units D would take")
    compare.add_argument("--units", metavar="CHOICE", help="as for `run`; default: the run's own")
    compare.add_argument("--out", type=Path, metavar="DIR", help="of the report; default: RUN/comparison")
    card = kinds.add_parser(
        "qualify", help="a run's simulator on checks with known answers; its card stays with the run"
    )
    card.add_argument("run", type=Path, metavar="RUN")
    suite = kinds.add_parser("run", help="a suite: a comparison as a file of settings")
    suite.add_argument("suite", metavar="SUITE", help="name of one that ships, or a .toml file")
    suite.add_argument("--out", type=Path, metavar="DIR", help="of the run and its report; default: SUITE-report")
    suite.add_argument("--check", action="store_true", help="fail if a mean is not that of the checked-in report")
    published = kinds.add_parser("published", help="on the released GPT-2 neurons, beside the published scores")
    published.add_argument(
        "--data", type=Path, metavar="FOLDER", help="the released neurons, in the release's own layout"
    )
    published.add_argument("--run", type=Path, metavar="RUN", help="instead: a run of your own on GPT-2 XL")
    published.add_argument("--release", choices=["auto", "gpt2-xl", "gpt2-small"], default="auto")
    published.add_argument(
        "--units", type=natural_number, metavar="N", help="drawn over layers and scores; default: all"
    )
    published.add_argument("--neurons", metavar="LIST", help="instead: mlp.3:127, mlp.40:9 ...")
    published.add_argument("--explainer", metavar="MODEL", help="an open explainer; default: the release's alone")
    published.add_argument("--simulator", metavar="MODEL", help="an open simulator; default: the release's alone")
    published.add_argument("--seed", type=natural_number, default=0, metavar="N")
    published.add_argument("--out", type=Path, metavar="DIR", help="of the run and its report; default: published-run")
    for single in (compare, card, suite, published):
        add_json(single)


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
