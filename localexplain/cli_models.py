"""The commands of `localexplain models`: a folder of models, what is known of them, and that they are unchanged."""

import argparse
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from localexplain.carry import hub, model_store
from localexplain.carry.manifest import ModelEntry, find_entry, list_files, model_name, read_manifest, role_of
from localexplain.errors import UserError
from localexplain.output import make_console, print_json, say
from localexplain.resources import resource

if TYPE_CHECKING:
    from localexplain.cards import ModelCard, TensorParallel

Where = Literal["model store", "ships", "card only", "folder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownModel:
    """A model that a command was asked about.

    folder      None where there is only a card
    repository  Hugging Face id, "" where it is not known
    entry       of the model store, None outside it
    """

    name: str
    where: Where
    folder: Path | None = None
    repository: str = ""
    card: "ModelCard | None" = None
    entry: ModelEntry | None = None

    @property
    def total_bytes(self) -> int | None:
        """Of its files; as the manifest lists them, where it does. None without files."""
        if self.entry is not None or self.folder is None:
            return None if self.entry is None else self.entry.total_bytes
        return sum(path.stat().st_size for path in list_files(self.folder).values())

    @property
    def licence(self) -> str:
        """By its card, else by the names of the licence's files; "" where neither is there."""
        if self.card is not None and self.card.licence:
            return self.card.licence
        files = list_files(self.folder) if self.folder is not None and self.folder.is_dir() else ()
        return ", ".join(name for name in files if role_of(name) == "licence")


# which models ---------------------------------------------------------------------------------------------------------


def needed_store(arguments: argparse.Namespace) -> Path:
    """Raises UserError where none is named."""
    store: Path | None = arguments.store
    if store is None:
        raise UserError("no model store: give --store DIR, or set LOCALEXPLAIN_MODELS to the folder of models")
    return store


def shipped_models() -> dict[str, Path]:
    folders = (path for path in sorted(resource("models").iterdir()) if (path / "config.json").is_file())
    return {path.name: path for path in folders}


def stored_model(store: Path, entry: ModelEntry) -> KnownModel:
    from localexplain.cards import find_card

    return KnownModel(
        name=entry.name,
        where="model store",
        folder=store / entry.path,
        repository=entry.repository,
        card=find_card(entry.repository) if entry.repository else None,  # its name alone is no evidence
        entry=entry,
    )


def stored_models(store: Path | None) -> dict[str, KnownModel]:
    """The model store's, by name; none without a store, nor where the first model is still to be added."""
    if store is None:
        return {}
    if not store.is_dir():
        say(f"{store}: no model store there yet; `localexplain models add PATH --as NAME` makes one")
        return {}
    return {name: stored_model(store, entry) for name, entry in read_manifest(store).models.items()}


def shipped_model(name: str, folder: Path) -> KnownModel:
    return KnownModel(name=name, where="ships", folder=folder)


def card_model(card: "ModelCard") -> KnownModel:
    return KnownModel(name=card.name, where="card only", repository=card.repository, card=card)


def known_models(store: Path | None) -> list[KnownModel]:
    """Those of the model store, those that ship, and those that only a card tells about."""
    from localexplain.cards import read_cards

    stored = stored_models(store)
    carded = {model.card.name for model in stored.values() if model.card is not None}
    return [
        *stored.values(),
        *(shipped_model(name, folder) for name, folder in shipped_models().items()),
        *(card_model(card) for card in read_cards().values() if card.name not in carded),
    ]


def find_model(name: str, store: Path | None) -> KnownModel:
    """The model of a path that is there, of a name (shipped, then of the model store), of a card or a repository.

    Raises UserError for what is none of these.
    """
    from localexplain.cards import card_of, find_card

    if Path(name).is_dir():
        found = hub.resolve(Path(name))
        card = find_card(found.repository) if found.repository else card_of(found.folder)
        return KnownModel(
            name=model_name(found.folder),
            where="folder",
            folder=found.folder,
            repository=found.repository,
            card=card,
            entry=find_entry(found.folder),
        )
    if (folder := shipped_models().get(name)) is not None:
        return shipped_model(name, folder)
    stored = stored_models(store)
    card = find_card(name)
    if name in stored:
        model = stored[name]
        return replace(model, card=model.card or card)  # where the name is wrong, the card's contradictions show it
    if card is None:
        raise UserError(f"{name}: no model, card or repository of this name; `localexplain models list` says which are")
    return next((model for model in stored.values() if model.card == card), card_model(card))


# as values and lines --------------------------------------------------------------------------------------------------


def entry_values(entry: ModelEntry) -> dict[str, Any]:
    return asdict(entry) | {"bytes": entry.total_bytes, "digest": entry.digest}


def listed_values(model: KnownModel) -> dict[str, Any]:
    return {
        "name": model.name,
        "where": model.where,
        "folder": None if model.folder is None else str(model.folder),
        "repository": model.repository or None,
        "bytes": model.total_bytes,
        "licence": model.licence or None,
    }


def show_bytes(size: int | None) -> str:
    from localexplain.cards.show import say_size

    return "" if size is None else say_size(size)


def entry_lines(entry: ModelEntry) -> list[tuple[str, str]]:
    kept = "copied there" if entry.copied else "recorded where it lay"
    lines = [
        ("in the model store", f"as {entry.name}, {kept}, {entry.added_at}"),
        ("revision", entry.revision),
        ("listed", f"{len(entry.files)} files, {show_bytes(entry.total_bytes)}, sha256 {entry.digest}"),
        ("pickled files kept", ", ".join(entry.pickled)),
    ]
    return [(label, value) for label, value in lines if value]


def folder_lines(model: KnownModel) -> list[tuple[str, str]]:
    """What the files of a model without a card say."""
    if model.folder is None or not model.folder.is_dir():
        return []
    files = list_files(model.folder)
    roles: dict[str, list[str]] = {}
    for name in files:
        roles.setdefault(role_of(name), []).append(name)
    lines = [("folder", str(model.folder)), ("size", show_bytes(model.total_bytes))]
    if "config.json" in files:
        from localexplain.cards.check import read_json

        config = read_json(model.folder / "config.json")
        named = [("architecture", config.get("model_type")), ("dtype", config.get("dtype", config.get("torch_dtype")))]
        lines += [(label, str(value)) for label, value in named if value]
    return lines + [(role, ", ".join(names)) for role, names in sorted(roles.items())]


def print_facts(lines: Iterable[tuple[str, str]]) -> None:
    from localexplain.report.terminal import facts

    make_console().print(facts(lines))


# the commands ---------------------------------------------------------------------------------------------------------


def models_list(arguments: argparse.Namespace) -> None:
    models = known_models(arguments.store)
    if arguments.json:
        print_json([listed_values(model) for model in models])
        return
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("model", no_wrap=True)
    table.add_column("size", justify="right", no_wrap=True)
    table.add_column("repository", overflow="fold")
    table.add_column("licence", overflow="fold")
    table.add_column("where", no_wrap=True)
    for model in models:
        cells = (model.name, show_bytes(model.total_bytes), model.repository, model.licence, model.where)
        table.add_row(*map(Text, cells))
    make_console().print(table)


def advise(model: KnownModel, gpu_bytes: int) -> "TensorParallel":
    """How many GPUs of the size hold the model, as it was released. Raises UserError where no card tells."""
    from localexplain.cards import tensor_parallel_advice
    from localexplain.cards.show import ADVICE_CONTEXT_TOKENS

    card = model.card
    stored: Literal["released", "bfloat16"] = "released" if card is not None and card.quantisation else "bfloat16"
    advice = None if card is None else tensor_parallel_advice(card, gpu_bytes, stored, ADVICE_CONTEXT_TOKENS)
    if advice is None:
        raise UserError(f"{model.name}: no card says how large it is; leave --gpu-memory out")
    return advice


def models_show(arguments: argparse.Namespace) -> None:
    from localexplain.cards import card_values, check_card, show_card

    model = find_model(arguments.name, arguments.store)
    advice = None if arguments.gpu_memory is None else advise(model, arguments.gpu_memory)
    there = model.folder if model.folder is not None and model.folder.is_dir() else None
    if arguments.json:
        contradictions = check_card(model.card, there) if model.card is not None and there is not None else ()
        values = listed_values(model) | {
            "card": None if model.card is None else card_values(model.card),
            "contradictions": list(contradictions),
            "entry": None if model.entry is None else entry_values(model.entry),
            "gpus": None if advice is None else asdict(advice),
        }
        print_json(values)
        return
    lines = folder_lines(model) if model.card is None else show_card(model.card, there)
    if model.card is None:
        lines = [("model", model.name), *lines]
    if advice is not None:
        lines.append((f"GPUs of {show_bytes(arguments.gpu_memory)}", f"{advice.gpus or 'too small'}; {advice.reason}"))
    print_facts(lines + ([] if model.entry is None else entry_lines(model.entry)))


def models_add(arguments: argparse.Namespace) -> None:
    from localexplain.cards import check_card

    store = needed_store(arguments)
    added = model_store.add(
        store,
        arguments.path,
        arguments.name,
        now=datetime.now(UTC),
        repository=arguments.repository,
        allowed_pickled=arguments.allow_pickled,
        taken=shipped_models(),
        report=say,
    )
    card = stored_model(store, added.entry).card
    if card is not None:
        for fault in check_card(card, store / added.entry.path):
            say(f"{added.entry.name}: not as the card of {card.repository} has it: {fault}")
    if arguments.json:
        print_json(entry_values(added.entry) | {"is_new": added.is_new})
        return
    done = "added" if added.is_new else "there already, the same"
    entry = added.entry
    print(f"{entry.name}: {done}; {len(entry.files)} files, {show_bytes(entry.total_bytes)}, sha256 {entry.digest}")


def models_verify(arguments: argparse.Namespace) -> None:
    store = needed_store(arguments)
    found = model_store.verify(store, arguments.name)
    if arguments.json:
        faults = {name: [asdict(fault) for fault in listed] for name, listed in found.faults.items()}
        print_json({"models": faults, "unlisted": list(found.unlisted), "n_faults": found.n_faults})
    else:
        for name, listed in sorted(found.faults.items()):
            print("\n".join(f"{name}: {fault}" for fault in listed) or f"{name}: as listed")
        for path in found.unlisted:
            print(f"{path}: holds weights, and is not listed; `localexplain models add` takes it in")
    if found.n_faults:
        damaged = ", ".join(sorted(name for name, listed in found.faults.items() if listed))
        raise UserError(
            f"{store}: {found.n_faults} {'file differs' if found.n_faults == 1 else 'files differ'} from what is "
            f"listed, of {damaged}; bring the model again, then remove and add it"
        )


def models_remove(arguments: argparse.Namespace) -> None:
    removed = model_store.remove(needed_store(arguments), arguments.name, report=say)
    entry = removed.entry
    if arguments.json:
        print_json({"name": entry.name, "path": entry.path, "are_files_deleted": removed.are_files_deleted})
        return
    deleted, stays = "its files are deleted", f"its folder {entry.path} stays, as it was recorded where it lay"
    gone = "its folder was gone"
    what = deleted if removed.are_files_deleted else gone if entry.copied else stays
    print(f"{entry.name}: out of the model store; {what}")


MODEL_COMMANDS: dict[str, Callable[[argparse.Namespace], None]] = {
    "list": models_list,
    "show": models_show,
    "add": models_add,
    "verify": models_verify,
    "remove": models_remove,
}
