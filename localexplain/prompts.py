"""Prompts are files: a folder for each task and version, of strict templates, settings and few-shot examples.

    prompts/explain/v1/  instruction.j2  neuron.j2  settings.toml  examples.json  ──load_prompt──>  PromptFiles

A prompt's identity holds a hash of all its files, so an edited file is another prompt in every key and every table.
"""

import hashlib
import json
import re
import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, cast

import jinja2

from localexplain.errors import ConfigError, UserError
from localexplain.resources import resource

ChatChoice = Literal["auto", "always", "never"]

AUTO = "auto"  # a version: the one that a model's card names, the general one where it names none
GENERAL_VERSION = "v1"
EXAMPLES_FILE = "examples.json"
SETTINGS_FILE = "settings.toml"
HASH_CHARACTERS = 8  # 32 bits: to tell edits of one folder apart, not to resist an attack
ESCAPES = {"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
ESCAPED_CATEGORIES = ("Cc", "Cs", "Zl", "Zp")  # what would break a line, or cannot be written in UTF-8
MAXIMUM_ACTIVATION = 10
SIGN = re.compile(r"[^\w\s]")
OPENING_QUOTE = re.compile(r"(?<![^\s(\[/])([\"'\u201c\u2018])(?=\w)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleExcerpt:
    """A few-shot excerpt: `activations` [T] in 0..10; those before index `told_from` are kept back where a prompt
    shows what an untold activation looks like."""

    tokens: tuple[str, ...]
    activations: tuple[int, ...]
    told_from: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleNeuron:
    explanation: str
    excerpts: tuple[ExampleExcerpt, ...]


def escape_regex(text: str) -> str:
    """`text` as a regular expression that matches it alone; nothing is escaped that needs no escape, since engines of
    patterns differ in which escapes they know.

    >>> print(escape_regex("it's (1.5)"))
    it's \\(1\\.5\\)
    """
    return re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", text)


@lru_cache(maxsize=32)  # compiling a template takes milliseconds, and a prompt renders several
def template_environment(files: tuple[tuple[str, str], ...]) -> jinja2.Environment:
    """`files`: (name, text) of each template."""
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(dict(files)),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,
    )
    environment.filters["regex"] = escape_regex
    return environment


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptFiles:
    """One version of one task's prompt. `files`: name -> text."""

    task: str
    version: str
    files: Mapping[str, str]

    @property
    def version_hash(self) -> str:
        """The first hexadecimal digits of a sha256 over every file's name and text."""
        digest = hashlib.sha256()
        for name, text in sorted(self.files.items()):
            for part in (name, text):
                data = part.encode("utf-8")
                digest.update(len(data).to_bytes(8, "little") + data)
        return digest.hexdigest()[:HASH_CHARACTERS]

    @property
    def identity(self) -> str:
        """For instance "explain/v1@3fa9c1d2"."""
        return f"{self.task}/{self.version}@{self.version_hash}"

    def render(self, name: str, **values: object) -> str:
        """The template `name` filled in, without line breaks at its end. Values are never read as templates.

        Raises jinja2.UndefinedError when the template names a value that is not given.
        """
        return template_environment(tuple(sorted(self.files.items()))).get_template(name).render(**values).rstrip("\n")

    def setting(self, key: str, default: str | None = None) -> str:
        """A text from settings.toml. Raises UserError when it is not there and there is no default."""
        where = f"prompt {self.task}/{self.version}, {SETTINGS_FILE}"
        try:
            found = tomllib.loads(self.files.get(SETTINGS_FILE, "")).get(key, default)
        except tomllib.TOMLDecodeError as error:
            raise UserError(f"{where}: not TOML ({error}); put the file back") from error
        if not isinstance(found, str):
            raise UserError(f"{where}: no text named {key!r}; put the file back")
        return found


# loading -------------------------------------------------------------------------------------------------------------


def load_prompt(task: str, version: str, root: Path | None = None) -> PromptFiles:
    """The prompt in the folder `task`/`version` of `root`, by default the prompts that ship; "auto" is the general one.

    Raises UserError when there is no such version, or a file in it is not UTF-8.
    """
    root = resource("prompts") if root is None else root
    version = GENERAL_VERSION if version == AUTO else version
    versions = sorted(folder.name for folder in (root / task).glob("*") if folder.is_dir())
    if version not in versions:
        held = ", ".join(versions) or "none"
        raise UserError(f"no version {version!r} of the prompt {task!r} in {root}; there is: {held}")
    files: dict[str, str] = {}
    for path in sorted((root / task / version).iterdir()):
        if path.is_file() and not path.name.startswith("."):
            try:
                files[path.name] = path.read_bytes().decode("utf-8").replace("\r\n", "\n")
            except UnicodeDecodeError as error:
                raise UserError(f"{path}: not UTF-8 at byte {error.start}; put the file back") from error
    return PromptFiles(task=task, version=version, files=files)


def parse_excerpt(data: object, where: str) -> ExampleExcerpt:
    """`data` is {"tokens": [...], "told_from": 0}: a token is a string (activation 0) or [string, activation].

    Raises UserError, naming `where`, for anything else.
    """
    tokens: list[str] = []
    activations: list[int] = []
    fields = cast(dict[str, object], data) if isinstance(data, dict) else {}
    items = fields.get("tokens")
    for item in items if isinstance(items, list) else []:
        token, activation = item if isinstance(item, list) and len(item) == 2 else (item, 0)
        if not isinstance(token, str) or activation not in range(MAXIMUM_ACTIVATION + 1):
            raise UserError(f"{where}: {item!r} is neither a token nor a token and its activation, 0 to 10")
        tokens.append(token)
        activations.append(int(activation))
    told_from = fields.get("told_from", 0)
    if not tokens or not isinstance(told_from, int) or not 0 <= told_from <= len(tokens):
        raise UserError(f"{where}: an excerpt needs tokens, and told_from an index into them")
    return ExampleExcerpt(tokens=tuple(tokens), activations=tuple(activations), told_from=told_from)


def example_neurons(prompt: PromptFiles) -> tuple[ExampleNeuron, ...]:
    """The few-shot neurons of a prompt, in the file's order. Raises UserError when the file is malformed."""
    where = f"prompt {prompt.task}/{prompt.version}, {EXAMPLES_FILE}"
    try:
        data = json.loads(prompt.files.get(EXAMPLES_FILE, ""))
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: not JSON ({error}); put the file back") from error
    neurons: list[ExampleNeuron] = []
    for item in data if isinstance(data, list) else [None]:
        if not isinstance(item, dict) or not isinstance(item.get("explanation"), str):
            raise UserError(f"{where}: not a list of neurons, each with explanation and excerpts")
        excerpts = tuple(parse_excerpt(excerpt, where) for excerpt in item.get("excerpts", []))
        neurons.append(ExampleNeuron(explanation=item["explanation"], excerpts=excerpts))
    return tuple(neurons)


def first_examples(prompt: PromptFiles, few_shot: int) -> tuple[ExampleNeuron, ...]:
    """The first `few_shot` neurons. Raises ConfigError when the prompt does not have so many."""
    neurons = example_neurons(prompt)
    if not 0 <= few_shot <= len(neurons):
        raise ConfigError(f"few_shot = {few_shot}: the prompt {prompt.identity} has 0 to {len(neurons)} examples")
    return neurons[:few_shot]


# what every prompt does alike ----------------------------------------------------------------------------------------


def show_token(token: str) -> str:
    """A subject token as prompts show it: on one line, with a backslash doubled and control characters escaped.

    >>> show_token(" movie"), show_token("a\\n\\tb"), show_token("\\\\"), show_token("\\x00")
    (' movie', 'a\\\\n\\\\tb', '\\\\\\\\', '\\\\x00')
    """
    return "".join(ESCAPES.get(character) or escape_control(character) for character in token)


def split_runs(tokens: Sequence[str]) -> list[list[str]]:
    """The tokens in runs, cut between a token of white space alone and a sign; empty tokens between them hide nothing.

    >>> split_runs(["salt", " ", "", "&", " ", "oil"])
    [['salt', ' ', ''], ['&', ' ', 'oil']]
    """
    runs: list[list[str]] = [[]]
    last = ""
    for token in tokens:
        if SIGN.match(token) and last.isspace():
            runs.append([])
        runs[-1].append(token)
        last = token or last
    return runs


def escape_control(character: str) -> str:
    if unicodedata.category(character) not in ESCAPED_CATEGORIES:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def one_line(text: str) -> str:
    """An explanation as prompts show it: its lines joined by single spaces, nothing else changed."""
    return " ".join(part for line in text.splitlines() if (part := line.strip()))


def shown_explanation(prompt: PromptFiles, explanation: str) -> str:
    """An explanation on one line; with the setting quotes = "spaced", as `space_quoted` writes it."""
    line = one_line(explanation)
    return space_quoted(line) if prompt.setting("quotes", default="plain") == "spaced" else line


def space_quoted(text: str) -> str:
    """A space after each opening quotation mark: a quoted word is then written with the pieces it has in running text.

    >>> print(space_quoted("the words 'river' or 'bank', not the bank's"))
    the words ' river' or ' bank', not the bank's
    """
    return OPENING_QUOTE.sub(r"\1 ", text)


def use_chat(choice: ChatChoice, *, has_chat_template: bool) -> bool:
    """Whether prompts go through the model's chat template: "auto" does where there is one.

    Raises ConfigError for "always" where there is none.
    """
    if choice == "always" and not has_chat_template:
        raise ConfigError('chat = "always": the model has no chat template; use "auto" or "never"')
    return choice != "never" and has_chat_template


def begin(bos_id: int | None, token_ids: Sequence[int]) -> tuple[int, ...]:
    """A plain prompt: with the beginning-of-sequence token where the model has one."""
    return (*([] if bos_id is None else [bos_id]), *token_ids)
