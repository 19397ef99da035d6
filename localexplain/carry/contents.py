"""What goes into a bundle, file by file: wheels, models, prompts, cards, data and source."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from localexplain.carry.accept import check_name, check_pickled, check_weights
from localexplain.carry.bundle import CARDS, DATA, MODELS, PROMPTS, REQUIREMENTS, SOURCE, WHEELS
from localexplain.carry.hub import resolve
from localexplain.carry.manifest import (
    ModelEntry,
    compare,
    find_entry,
    list_files,
    read_entries,
    read_manifest,
    role_of,
)
from localexplain.carry.wheels import pin_lines, unpack_shipped
from localexplain.errors import UserError
from localexplain.files import hash_files
from localexplain.modelfiles import check_model_folder
from localexplain.resources import resource

MODEL_ROLE = "bundled"  # as messages about a model's folder name it
NAMED_FAULTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """One file to be carried.

    path    in the bundle, with "/"
    source  the file here
    """

    path: str
    source: Path
    sha256: str
    bytes: int
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """A model to be carried; its entry says what its files are, proven just now."""

    entry: ModelEntry
    folder: Path


# models ---------------------------------------------------------------------------------------------------------------


def choose_folder(folder: Path) -> Chosen:
    """A model by its folder. Raises UserError for one that cannot be loaded, or holds pickled files."""
    entry = find_entry(folder)
    if entry is not None:
        return check_chosen(Chosen(entry=entry, folder=folder))
    found = resolve(folder)
    check_model_folder(found.folder, MODEL_ROLE)
    files = list_files(found.folder)
    check_weights(found.folder, files)
    check_pickled(found.folder, list(files), ())
    name = found.repository.rpartition("/")[2] or folder.absolute().name
    check_name(name, ())
    entries = read_entries(found.folder)
    entry = ModelEntry(name=name, path=name, files=entries, repository=found.repository, revision=found.revision)
    return Chosen(entry=entry, folder=found.folder)


def check_chosen(chosen: Chosen) -> Chosen:
    """Raises UserError, naming the files, where the model is not what its entry lists."""
    faults = compare(chosen.entry.files, read_entries(chosen.folder))
    if faults:
        more = f" and {len(faults) - NAMED_FAULTS} more" if len(faults) > NAMED_FAULTS else ""
        raise UserError(
            f"{chosen.entry.name}: not what the model store lists: {', '.join(map(str, faults[:NAMED_FAULTS]))}{more}; "
            f"mend it, or add it anew if the change was meant"
        )
    return chosen


def choose_model(text: str, store: Path | None) -> Chosen:
    """A model by path, by the name of one that ships, or by its name in the model store; in this order."""
    if Path(text).exists() or Path(text).name != text:
        return choose_folder(Path(text))
    try:
        return choose_folder(resource("models", text))
    except UserError:
        models = read_manifest(store).models if store is not None else {}
        if store is None or text not in models:
            known = ", ".join(sorted(models)) or "none"
            where = f"in the model store {store}" if store is not None else "in a model store, for no --store is given"
            raise UserError(f"--models {text}: no such folder, and no model {where}; there: {known}") from None
    return check_chosen(Chosen(entry=models[text], folder=store / models[text].path))


def choose_models(texts: Iterable[str], store: Path | None) -> tuple[Chosen, ...]:
    """Raises UserError for two models of one name."""
    chosen = tuple(choose_model(text, store) for text in texts)
    names = [one.entry.name for one in chosen]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UserError(f"--models: two models are named {twice}; add one to the model store under another name")
    return tuple(replace(one, entry=replace(one.entry, path=one.entry.name)) for one in chosen)


# files ----------------------------------------------------------------------------------------------------------------


def contents_of(files: Mapping[str, Path], role: Callable[[str], str] | str) -> tuple[Content, ...]:
    """The files, hashed now. `files`: path in the bundle -> file; `role`: the same for all, or told by the path."""
    hashes = hash_files(files.values())
    return tuple(
        Content(
            path=name,
            source=path,
            sha256=hashes[path],
            bytes=path.stat().st_size,
            role=role if isinstance(role, str) else role(name),
        )
        for name, path in files.items()
    )


def model_contents(chosen: Chosen) -> tuple[Content, ...]:
    listed = list_files(chosen.folder)
    start = f"{MODELS}/{chosen.entry.name}"
    return tuple(
        Content(
            path=f"{start}/{file.path}",
            source=listed[file.path],
            sha256=file.sha256,
            bytes=file.bytes,
            role=role_of(file.path),
        )
        for file in chosen.entry.files
    )


def data_files(paths: Sequence[Path]) -> dict[str, Path]:
    """Files, and all files of folders, below data/. Raises UserError for what is not there, or there twice."""
    found: dict[str, Path] = {}
    for path in paths:
        name = path.absolute().name
        if not path.exists():
            raise UserError(f"--data {path}: no such file or folder; give one that is there")
        inside = (
            {f"{name}/{inner}": file for inner, file in list_files(path).items()} if path.is_dir() else {name: path}
        )
        if not inside or inside.keys() & found.keys():
            why = "holds no files" if not inside else f"a second one named {name}"
            raise UserError(f"--data {path}: {why}; give another")
        found |= inside
    return {f"{DATA}/{inner}": file for inner, file in found.items()}


def check_same_prompts(shipped: Mapping[str, Path], prompts: Path) -> None:
    """Raises UserError where the prompts inside the wheel are not those in the folder."""
    inside = {name.removeprefix(f"{PROMPTS}/"): path for name, path in shipped.items() if name.startswith(PROMPTS)}
    beside = list_files(prompts)
    differ = inside.keys() ^ beside.keys()
    differ |= {name for name in inside.keys() & beside.keys() if inside[name].read_bytes() != beside[name].read_bytes()}
    if differ:
        raise UserError(
            f"prompts/{min(differ)}: differs between the project's wheel and {prompts}; bring the wheel of this version"
        )


def is_read_there(path: str) -> bool:
    """Whether it is to be read by whoever approves: prompts, and cards of models."""
    return path.startswith(f"{PROMPTS}/") or (path.startswith("models/") and path.endswith(".toml"))


def gather_contents(
    *,
    own_wheel: Path,
    wheels: Sequence[Path],
    scratch: Path,
    models: Sequence[Chosen] = (),
    data: Sequence[Path] = (),
    source: Path | None = None,
    prompts: Path | None = None,
) -> tuple[Content, ...]:
    """Everything, small things first, so that what people read is in the first part.

    own_wheel  the project's; `wheels` are the others
    scratch    a folder for what is unpacked
    source     folder of the project's source; None: it is not carried
    prompts    folder that the wheel's prompts must equal; None: not compared
    """
    shipped = unpack_shipped(own_wheel, scratch, is_read_there)
    if prompts is not None:
        check_same_prompts(shipped, prompts)
    named = {name if name.startswith(PROMPTS) else f"{CARDS}/{Path(name).name}": path for name, path in shipped.items()}
    packed = contents_of({f"{WHEELS}/{path.name}": path for path in sorted([own_wheel, *wheels])}, "wheel")
    pins = scratch / REQUIREMENTS
    pins.write_text(pin_lines({content.source.name: content.sha256 for content in packed}), encoding="utf-8")
    found = [*contents_of({REQUIREMENTS: pins}, "pins")]
    found += contents_of(dict(sorted(named.items())), lambda path: "card" if path.startswith(CARDS) else "prompt")
    found += packed
    if source is not None:
        found += contents_of({f"{SOURCE}/{name}": path for name, path in list_files(source).items()}, "source")
    found += contents_of(data_files(data), "data")
    for chosen in models:
        found += model_contents(chosen)
    return tuple(found)
