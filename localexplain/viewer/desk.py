"""What the pages work with: the newest copy of the run, read at a glance once for each, and the models on demand."""

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localexplain.pipeline.models import model_folder
from localexplain.store.store import Store
from localexplain.viewer.copy import RunCopy, State
from localexplain.viewer.live import LiveModels, read_recipe
from localexplain.viewer.pages import Glance, read_glance


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Look:
    """One request's view of the run: all it reads is of one copy."""

    state: State
    store: Store
    glance: Glance


class Desk:
    """Shared by all threads of the server. Close it."""

    def __init__(self, folder: Path) -> None:
        self._copy = RunCopy(folder)
        self._lock = threading.Lock()
        self._glance: tuple[int, Glance] | None = None
        self._models: LiveModels | None = None
        self._unembedding: Any = None

    def look(self) -> Look:
        """Raises RunError or StoreError, saying why, where there is nothing to look at."""
        state = self._copy.current()
        store = state.snapshot.cursor()
        with self._lock:
            if self._glance is None or self._glance[0] != state.number:
                self._glance = (state.number, read_glance(store))
            return Look(state=state, store=store, glance=self._glance[1])

    def models(self, store: Store) -> LiveModels:
        """Loads nothing yet; those of an older copy are given up where the run has other models by now."""
        recipe = read_recipe(store)
        with self._lock:
            old = self._models if self._models is not None and self._models.recipe != recipe else None
            if self._models is None or old is not None:
                self._models, self._unembedding = LiveModels(recipe), None
            models = self._models
        if old is not None:
            old.close()  # waits for the calls under way, and must not keep other pages waiting
        return models

    def unembedding(self, store: Store) -> Any:
        """The subject's map to logits, read once."""
        from localexplain.subject.weights import load_unembedding

        models = self.models(store)
        subject = models.subject()
        if self._unembedding is None:
            self._unembedding = load_unembedding(model_folder(models.recipe.subject_folder), subject)
        return self._unembedding

    def close(self) -> None:
        self._copy.close()
        if self._models is not None:
            self._models.close()
