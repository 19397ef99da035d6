"""Names of a model store as paths, so that a run, its processes and the viewer need know nothing of the store.

A name means, in this order: a path that is there, a model that ships, a model of the store. What is none of these stays
as it is; whoever reads the folder says that it is not there.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from localexplain.carry.manifest import ModelEntry, read_manifest
from localexplain.errors import UserError
from localexplain.pipeline.config import RunConfig
from localexplain.resources import model_folder

SEPARATORS = ("@", ",")  # between a model's name and its dtype, and between models


def read_models(store: Path | None) -> Mapping[str, ModelEntry]:
    """The store's models by name; none without a store. Raises UserError for a manifest that was changed."""
    return {} if store is None else read_manifest(store).models


def with_path(name: str, store: Path | None, models: Mapping[str, ModelEntry]) -> str:
    """The name, or the path of the store's model that it means."""
    if store is None or name not in models or model_folder(name).exists():
        return name
    return str(store.absolute() / models[name].path)


def with_store_paths(config: RunConfig, store: Path | None) -> RunConfig:
    """The settings with paths in place of names of the store. Raises UserError for a manifest that was changed."""
    models = read_models(store)
    if not models:
        return config
    return replace(
        config,
        subject=with_path(config.subject, store, models),
        explain=replace(config.explain, explainer=with_path(config.explain.explainer, store, models)),
        simulate=replace(config.simulate, simulator=with_path(config.simulate.simulator, store, models)),
    )


def paths_in(text: str, store: Path | None) -> str:
    """NAME or NAME@DTYPE..., or several with commas between, with paths in place of names of the store.

    Raises UserError for a manifest that was changed, and for a path that could not be told from what follows it.
    """
    models, parts = read_models(store), []
    for part in text.split(","):
        name, at, how = part.strip().partition("@")
        path = with_path(name, store, models)
        if path != name and any(mark in path for mark in SEPARATORS):
            raise UserError(f"{path}: neither @ nor a comma may be in the model store's path here; move the store")
        parts.append(path + at + how)
    return ",".join(parts)
