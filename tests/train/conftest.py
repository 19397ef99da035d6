"""What the tests of the explainer's recipe share: texts, their training set, and a model trained on it in one go."""

import json

import numpy as np
import pytest

from localexplain.train.explainer import train_explainer
from localexplain.train.training_set import prepare_data
from tests.train.explainer_recipe import HELD_OUT, WORDS, configure, quiet


@pytest.fixture(scope="session")
def texts(tmp_path_factory):
    """30 documents of 20 sentences, one of the bed's texts in the middle of one of them, and a file of synsets."""
    folder = tmp_path_factory.mktemp("texts")
    random = np.random.default_rng(0)
    rows = []
    for number in range(30):
        sentences = [" ".join(WORDS[int(n)] for n in random.integers(0, len(WORDS), 14)) for _ in range(20)]
        sentences = [f"{sentence.capitalize()}." for sentence in sentences]
        if number == 7:
            sentences[10] = HELD_OUT
        rows.append({"text": " ".join(sentences)})
    (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    synsets = [{"id": "reptile", "words": ["reptile"], "definition": "an animal with scales", "hypernyms": []}]
    synsets += [
        {"id": word, "words": [word], "definition": f"a {word}", "hypernyms": ["reptile"]}
        for word in ("lizard", "viper", "gecko", "cobra", "turtle")
    ]
    (folder / "wordnet.jsonl").write_text("".join(json.dumps(row) + "\n" for row in synsets))
    return folder


@pytest.fixture(scope="session")
def data(texts, tmp_path_factory):
    """The training set, which all trainings here share, as sizes do."""
    folder = tmp_path_factory.mktemp("set") / "data"
    prepare_data(configure(texts, folder, folder), quiet)
    return folder


@pytest.fixture(scope="session")
def trained(texts, data, tmp_path_factory):
    """A model trained in one go."""
    out = tmp_path_factory.mktemp("trained") / "model"
    train_explainer(configure(texts, out, data), quiet)
    return out
