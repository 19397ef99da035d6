"""A reader's sentence: activations and predictions are those of the run's own models, or there are none."""

import gc
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoModelForCausalLM

from localexplain.errors import RunError, UserError
from localexplain.evaluate.published import import_config, score_published
from localexplain.keys import canonical_json
from localexplain.modelfiles import hash_model_folder
from localexplain.pipeline.config import ExplainStage, RunConfig, SimulateStage
from localexplain.pipeline.imported import import_neurons
from localexplain.pipeline.main import run_stages
from localexplain.pipeline.run import Run, model_key
from localexplain.report.reading import Model, Series, read_series
from localexplain.simulate.base import SimulateConfig
from localexplain.store.store import open_for_reading, open_for_writing
from localexplain.subject.capture_config import CaptureConfig, Dtype
from localexplain.subject.corpus import CorpusConfig
from localexplain.subject.model import encode_text, load_subject
from localexplain.types import Identity, Unit, parse_unit
from localexplain.viewer.live import (
    LONGEST_CHARACTERS,
    LONGEST_EXPLANATION_CHARACTERS,
    MOST_TOKENS,
    LiveModels,
    LiveRecipe,
    Sentence,
    list_differences,
    read_recipe,
)
from tests.cli_process import write_texts
from tests.published_fixtures import make_neuron
from tests.tiny_models import edit_json, write_tiny_engine
from tests.tiny_subjects import CONTEXT_TOKENS, LAYERS, UNITS, write_subject

STAGES = ("capture", "explain", "simulate", "score")
UNIT = Unit(basis="mlp", layer=1, index=5)
TEXT = "The ferry leaves the harbour at seven, and rain is on the river."
FEW = "mlp.0:3,mlp.1:5,mlp.2:7"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A run, its subject's and simulator's folders, and what is read of it."""

    run: Path
    subject: Path
    engine: Path
    recipe: LiveRecipe
    series: tuple[Series, ...]

    def by_rule(self) -> Series:
        return next(item for item in self.series if item.mode == "rule")

    def by_model(self, few_shot: int) -> Series:
        detail = ("simulate.few_shot", str(few_shot))
        return next(item for item in self.series if detail in item.simulator.details)


def simulate_with(engine: Path, few_shot: int) -> SimulateStage:
    prompt = SimulateConfig(mode="expected", few_shot=few_shot)
    return SimulateStage(simulator=str(engine), calibrate="none", controls=(), prompt=prompt)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A subject that reads a token before every excerpt; three series: a rule's, and a model's in two settings."""
    root = tmp_path_factory.mktemp("live")
    subject, engine = write_subject(root / "subject", prepends_bos=True), write_tiny_engine(root / "tiny-qwen")
    edit_json(engine / "config.json", max_position_embeddings=2048)
    stages = (
        SimulateStage(calibrate="none", controls=("lookup",)),
        simulate_with(engine, 1),
        simulate_with(engine, 0),
    )
    for stage in stages:
        config = RunConfig(
            subject=str(subject),
            corpus=CorpusConfig(path=str(write_once(root / "texts")), length_tokens=16),
            capture=CaptureConfig(stratum_excerpts=0),
            explain=ExplainStage(units=FEW),
            simulate=stage,
        )
        with open_for_writing(root / "run") as store:
            run_stages(Run(folder=root / "run", store=store), config, STAGES)
    with open_for_reading(root / "run") as store:
        recipe, series = read_recipe(store), read_series(store)
    return Made(run=root / "run", subject=subject, engine=engine, recipe=recipe, series=series)


def write_once(folder: Path) -> Path:
    return folder if folder.exists() else write_texts(folder)


@pytest.fixture(scope="module")
def live(made: Made) -> Iterator[LiveModels]:
    models = LiveModels(made.recipe)
    yield models
    models.close()


def rows_of(folder: Path, statement: str) -> list[dict[str, Any]]:
    with open_for_reading(folder) as store:
        rows: list[dict[str, Any]] = store.sql(statement).to_pylist()
        return rows


def recipe_of(folder: Path, bos: int | None = None, dtype: Dtype = "float32") -> LiveRecipe:
    """The recipe of a run on the subject in `folder` that simulated nothing."""
    subject = load_subject(folder, dtype)
    identity = subject.identity
    return LiveRecipe(
        subject=Model(key=model_key(identity), kind="subject", name=identity.name, details=identity.details),
        subject_folder=str(folder),
        layer_sizes=tuple(site.n_units for site in subject.sites),
        bos_token=bos,
        stages=(),
    )


def changed_model(series: Series, **details: str) -> Series:
    """The series as a run would have it whose simulator differed in these details."""
    old = series.simulator
    pairs = tuple(sorted((dict(old.details) | details).items()))
    key = model_key(Identity(kind=old.kind, name=old.name, details=pairs))
    return replace(series, simulator=replace(old, key=key, details=pairs))


def refused(call: Callable[[], object]) -> str:
    """The message of the UserError, one line."""
    with pytest.raises(UserError) as raised:
        call()
    message = str(raised.value)
    assert "\n" not in message
    return message


# the recipe -----------------------------------------------------------------------------------------------------------


def test_importing_and_reading_a_recipe_load_no_model_library(made: Made) -> None:
    code = (
        "import sys; from pathlib import Path; from localexplain.viewer.live import LiveModels, read_recipe; "
        "from localexplain.store.store import open_for_reading; "
        "models = LiveModels(read_recipe(open_for_reading(Path(sys.argv[1])))); "
        "print(len(models.recipe.stages), sorted({'torch', 'transformers', 'vllm'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(made.run)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3", "[]"]


def test_a_recipe_holds_the_subject_and_every_way_of_simulating_newest_first(made: Made) -> None:
    recipe = made.recipe
    assert recipe.subject_folder == str(made.subject)
    assert dict(recipe.subject.details).keys() == {"architecture", "dtype", "files_sha256"}
    assert recipe.layer_sizes == (UNITS,) * LAYERS
    assert recipe.bos_token == 0  # <|endoftext|>, which the tokenizer puts first
    assert [stage.prompt.few_shot for stage in recipe.stages[:2]] == [0, 1]
    assert [stage.simulator for stage in recipe.stages] == [str(made.engine), str(made.engine), "rule"]


def test_a_row_with_settings_of_another_version_is_passed_over(made: Made, tmp_path: Path) -> None:
    shutil.copytree(made.run, tmp_path / "run")
    with open_for_writing(tmp_path / "run") as store:
        row = store.sql("SELECT * FROM runs ORDER BY run_id DESC LIMIT 1").to_pylist()[0]
        other = json.loads(row["config"]) | {"subject": "elsewhere"}
        other["simulate"] = {"simulator": "rule", "telepathy": True}
        store.insert("runs", pa.Table.from_pylist([row | {"run_id": 99, "config": canonical_json(other)}]))
    with open_for_reading(tmp_path / "run") as store:
        assert read_recipe(store) == replace(made.recipe, subject_folder="elsewhere")


def test_a_store_without_a_capture_is_refused(tmp_path: Path) -> None:
    with open_for_writing(tmp_path) as store, pytest.raises(RunError, match="nothing is captured"):
        read_recipe(store)


# activations ----------------------------------------------------------------------------------------------------------


def stored_excerpts(made: Made, live: LiveModels) -> list[tuple[str, dict[str, Any]]]:
    """(text, record) for records of UNIT whose tokens, written as text, are cut in the same tokens again."""
    rows = rows_of(
        made.run,
        f"SELECT tokens, token_ids, activations, excerpt_id, split, unit_id FROM records JOIN excerpts USING "
        f"(excerpt_id) JOIN units USING (unit_id) WHERE unit = '{UNIT}' ORDER BY excerpt_id",
    )
    pairs = [("".join(row["tokens"]), row) for row in rows]
    return [(text, row) for text, row in pairs if encode_text(live.subject(), text) == row["token_ids"]]


def test_a_stored_excerpt_has_its_stored_activations(made: Made, live: LiveModels) -> None:
    pairs = stored_excerpts(made, live)
    assert len(pairs) >= 5
    for text, row in pairs:
        sentence = live.sentence(UNIT, text)
        assert sentence.tokens == tuple(row["tokens"])
        assert sentence.activations.dtype == np.float32
        np.testing.assert_allclose(sentence.activations, row["activations"], rtol=0, atol=1e-5)


def true_activations(folder: Path, family: str, unit: Unit, token_ids: list[int]) -> Any:
    """[T] from the whole model with its head, read at the MLP's nonlinearity and not before its output projection."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    blocks = model.base_model.h if family == "gpt2" else model.base_model.layers
    mlp = blocks[unit.layer].mlp
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: object, args: object, output: torch.Tensor) -> None:
            seen[name] = output

        return hook

    gated = family == "llama"
    (mlp.act_fn if gated else mlp.act).register_forward_hook(keep("active"))
    if gated:
        mlp.up_proj.register_forward_hook(keep("up"))
    with torch.no_grad():
        model(input_ids=torch.tensor([token_ids]))
    whole = seen["active"] * seen["up"] if gated else seen["active"]
    return whole[0, :, unit.index].numpy()


@pytest.mark.parametrize("bos", [None, 0])
@pytest.mark.parametrize("family", ["gpt2", "llama", "neox_parallel"])
def test_activations_are_those_of_a_plain_forward_pass(family: str, bos: int | None, tmp_path: Path) -> None:
    folder = write_subject(tmp_path / "subject", family)
    live = LiveModels(recipe_of(folder, bos))
    token_ids = encode_text(live.subject(), TEXT)
    for layer in (0, LAYERS - 1):
        unit = Unit(basis="mlp", layer=layer, index=17)
        if bos is None:
            wanted = true_activations(folder, family, unit, token_ids)
        else:
            wanted = true_activations(folder, family, unit, [bos, *token_ids])[1:]
        found = live.sentence(unit, TEXT)
        assert len(found.tokens) == len(token_ids) == len(found.activations)
        assert "".join(found.tokens) == TEXT
        np.testing.assert_allclose(found.activations, wanted, rtol=0, atol=1e-5)
        assert np.ptp(wanted) > 0.01


def test_the_token_before_the_text_counts(made: Made, live: LiveModels) -> None:
    without = LiveModels(replace(made.recipe, bos_token=None)).sentence(UNIT, TEXT)
    with_it = live.sentence(UNIT, TEXT)
    assert without.tokens == with_it.tokens
    assert np.abs(without.activations - with_it.activations).max() > 0.01


def test_the_subject_runs_in_the_precision_of_the_capture(tmp_path: Path) -> None:
    folder = write_subject(tmp_path / "subject")
    coarse = LiveModels(recipe_of(folder, dtype="bfloat16"))
    assert coarse.subject().base.dtype == torch.bfloat16
    found = coarse.sentence(UNIT, TEXT).activations
    assert found.dtype == np.float32
    assert (found == torch.tensor(found).bfloat16().float().numpy()).all()  # every value is one that bfloat16 has
    assert not (found == LiveModels(recipe_of(folder)).sentence(UNIT, TEXT).activations).all()


def test_layers_behind_the_unit_s_are_not_run_and_no_hook_is_left(made: Made) -> None:
    live = LiveModels(made.recipe)
    subject = live.subject()
    wanted = live.sentence(UNIT, TEXT).activations

    def fail(module: object, args: object) -> None:
        raise AssertionError("ran")

    hook = subject.sites[UNIT.layer + 1].block.register_forward_pre_hook(fail)
    np.testing.assert_array_equal(live.sentence(UNIT, TEXT).activations, wanted)
    with pytest.raises(AssertionError, match="ran"):
        live.sentence(Unit(basis="mlp", layer=UNIT.layer + 1, index=0), TEXT)
    hook.remove()
    # a hook that was left would stop this pass, or keep what it sees
    out = subject.base(input_ids=torch.tensor([[1, 2, 3]])).last_hidden_state
    assert out.shape[:2] == (1, 3)


# predictions ----------------------------------------------------------------------------------------------------------


def stored_predictions(made: Made, live: LiveModels, series: Series) -> list[tuple[str, str, list[float]]]:
    """(explanation, text, expected) of UNIT's simulations by the series on excerpts that are cut the same again."""
    texts = {row["excerpt_id"]: text for text, row in stored_excerpts(made, live)}
    rows = rows_of(
        made.run,
        f"SELECT text, excerpt_id, expected FROM simulations JOIN explanations USING (explanation_key) JOIN units ON "
        f"units.unit_id = simulations.unit_id WHERE simulator_key = '{series.simulator.key}' AND unit = '{UNIT}' "
        "AND source = 'explanation' ORDER BY excerpt_id",
    )
    return [(row["text"], texts[row["excerpt_id"]], row["expected"]) for row in rows if row["excerpt_id"] in texts]


@pytest.mark.parametrize("kind", ["rule", "no example", "one example"])
def test_a_stored_explanation_on_a_stored_excerpt_has_its_stored_prediction(
    made: Made, live: LiveModels, kind: str
) -> None:
    series = made.by_rule() if kind == "rule" else made.by_model(int(kind == "one example"))
    stored = stored_predictions(made, live, series)
    assert len(stored) >= 2
    for explanation, text, expected in stored:
        sentence = live.sentence(UNIT, text)
        found = live.predict(series, explanation, sentence)
        assert found.error is None
        assert found.expected is not None
        # how requests are batched moves log-probabilities by about 1e-5, ten levels by ten times that
        np.testing.assert_allclose(found.expected, expected, rtol=0, atol=0 if kind == "rule" else 1e-3)
        if np.ptp(expected) == 0:
            assert (found.score, found.reason) == (None, "constant simulation")
        else:
            assert found.score == pytest.approx(np.corrcoef(sentence.activations, found.expected)[0, 1], abs=1e-6)
            assert found.reason is None


def test_each_series_is_asked_in_its_own_way(made: Made, live: LiveModels) -> None:
    sentence = live.sentence(UNIT, TEXT)
    found = [live.predict(made.by_model(few_shot), "words about boats", sentence) for few_shot in (0, 1, 0)]
    assert found[0].expected is not None
    assert found[1].expected is not None
    assert np.abs(found[0].expected - found[1].expected).max() > 1e-3
    np.testing.assert_array_equal(found[2].expected, found[0].expected)


def test_the_explanation_that_is_typed_counts(made: Made, live: LiveModels) -> None:
    sentence = Sentence(tokens=("a", " b", " c", " b"), activations=np.array([0, 2, 0, 2], dtype=np.float32))
    # the rule is 10 on the quoted token: 0 10 0 10, a multiple of the activations, and 10 0 0 0 on the other
    right = live.predict(made.by_rule(), "the token ' b'", sentence)
    assert right.expected is not None
    assert right.expected.tolist() == [0, 10, 0, 10]
    assert right.score == pytest.approx(1)
    wrong = live.predict(made.by_rule(), "the token 'a'", sentence)
    assert wrong.expected is not None
    assert wrong.expected.tolist() == [10, 0, 0, 0]
    # deviations -1 1 -1 1 and 7.5 -2.5 -2.5 -2.5: -10 / sqrt(4 * 75) = -0.5774
    assert wrong.score == pytest.approx(-0.5774, abs=1e-4)


@pytest.mark.parametrize(
    ("explanation", "activations", "reason"),
    [
        ("", [0, 2, 0], "constant simulation"),
        ("the token 'a'", [1, 1, 1], "constant activations"),
        ("the token 'a'", [1], "fewer than 2 tokens"),
    ],
)
def test_a_score_that_is_undefined_says_why(
    made: Made, live: LiveModels, explanation: str, activations: list[float], reason: str
) -> None:
    tokens = ("a", "b", "c")[: len(activations)]
    sentence = Sentence(tokens=tokens, activations=np.array(activations, dtype=np.float32))
    found = live.predict(made.by_rule(), explanation, sentence)
    assert found.expected is not None
    assert (found.error, found.score, found.reason) == (None, None, reason)


def test_a_sentence_too_long_for_the_simulator_is_a_prediction_with_an_error(made: Made, live: LiveModels) -> None:
    long = Sentence(tokens=("word",) * 2000, activations=np.arange(2000, dtype=np.float32))
    found = live.predict(made.by_model(0), "words", long)
    assert found.expected is None
    assert found.error == "the prompt is longer than the model's context of 2048 tokens"
    assert found.score is None
    assert found.reason == f"the simulation failed: {found.error}"


# loading, threads and memory ------------------------------------------------------------------------------------------


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    """Their results, all begun together."""
    barrier = threading.Barrier(len(calls))

    def begin(call: Callable[[], Any]) -> Any:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(begin, calls))


def test_threads_that_ask_together_get_one_subject(made: Made) -> None:
    live = LiveModels(made.recipe)
    found = at_once([live.subject] * 4)
    assert len({id(subject) for subject in found}) == 1
    assert live.subject() is found[0]


def test_threads_do_not_see_each_other_s_sentences(made: Made, live: LiveModels) -> None:
    """Without turns, the hook of one would read, and stop, the forward pass of another."""
    asked = [
        (Unit(basis="mlp", layer=number % LAYERS, index=number), TEXT[: 20 + number] * (1 + number % 3))
        for number in range(24)
    ]
    alone = [live.sentence(unit, text) for unit, text in asked]
    together = at_once([lambda unit=unit, text=text: live.sentence(unit, text) for unit, text in asked])
    for left, right in zip(alone, together, strict=True):
        assert left.tokens == right.tokens
        np.testing.assert_array_equal(left.activations, right.activations)


def test_threads_that_ask_different_simulators_get_their_own_predictions(made: Made) -> None:
    """Without turns, one would close the simulator that the other is asking; the sentence is long, so that asking takes
    as long as loading."""
    live = LiveModels(made.recipe)
    sentence = Sentence(tokens=(" rain", " on") * 180, activations=np.arange(360, dtype=np.float32))
    series = [made.by_model(0), made.by_model(1)]

    def ask(item: Series, times: int) -> list[Any]:
        return [live.predict(item, "the token ' rain'", sentence).expected for _ in range(times)]

    alone = [ask(item, 1)[0] for item in series]
    together = at_once([lambda item=item: ask(item, 3) for item in series])
    for wanted, found in zip(alone, together, strict=True):
        for expected in found:
            np.testing.assert_array_equal(expected, wanted)


def held_models(kind: str) -> list[Any]:
    """Every object of this class in the process."""
    gc.collect()
    return [item for item in gc.get_objects() if type(item).__name__ == kind]


def test_one_simulator_is_held_at_a_time_and_nothing_after_closing(made: Made, live: LiveModels) -> None:
    live.predict(made.by_rule(), "words", live.sentence(UNIT, TEXT))  # what others hold changes no more
    n_subjects, n_models = len(held_models("GPT2Model")), len(held_models("Qwen3ForCausalLM"))
    own = LiveModels(made.recipe)
    sentence = own.sentence(UNIT, TEXT)
    own.predict(made.by_model(0), "words", sentence)
    engines = held_models("TransformersEngine")  # kept from here on: only closing them frees their models
    assert engines
    for series in (made.by_model(1), made.by_model(0)):
        own.predict(series, "words", sentence)
        engines += held_models("TransformersEngine")
        assert len(held_models("Qwen3ForCausalLM")) == n_models + 1
    assert len(held_models("GPT2Model")) == n_subjects + 1
    own.close()
    assert len(held_models("Qwen3ForCausalLM")) == n_models
    assert len(held_models("GPT2Model")) == n_subjects


def test_models_run_where_the_viewer_says_and_not_where_the_run_had_them(made: Made) -> None:
    sentence = Sentence(tokens=("a", "b"), activations=np.array([0, 1], dtype=np.float32))
    elsewhere = LiveModels(made.recipe, device="nowhere")
    assert '"nowhere": no such device here' in refused(elsewhere.subject)
    assert "device 'nowhere' cannot be used" in refused(lambda: elsewhere.predict(made.by_model(0), "words", sentence))
    stages = tuple(replace(stage, engine=replace(stage.engine, device="nowhere")) for stage in made.recipe.stages)
    here = LiveModels(replace(made.recipe, stages=stages), device="cpu")
    assert here.predict(made.by_model(0), "words", sentence).error is None


def test_after_closing_everything_is_refused(made: Made) -> None:
    live = LiveModels(made.recipe)
    sentence = live.sentence(UNIT, TEXT)
    live.close()
    live.close()
    for call in (
        live.subject,
        lambda: live.sentence(UNIT, TEXT),
        lambda: live.predict(made.by_rule(), "words", sentence),
    ):
        with pytest.raises(UserError, match="the viewer is closing"):
            call()


# what is typed --------------------------------------------------------------------------------------------------------


def test_a_text_is_refused_before_anything_is_loaded(made: Made) -> None:
    live = LiveModels(replace(made.recipe, subject_folder="nowhere"))
    assert refused(lambda: live.sentence(UNIT, "")) == "the text is empty; type at least one token"
    longer = "a" * (LONGEST_CHARACTERS + 1)
    assert refused(lambda: live.sentence(UNIT, longer)) == (
        "the text has 4001 characters; at most 4000 are taken, so shorten it"
    )
    assert "at place 3 (a lone surrogate)" in refused(lambda: live.sentence(UNIT, "ab\ud800c"))
    assert "no such folder nowhere" in refused(lambda: live.sentence(UNIT, longer[1:]))


def test_an_explanation_is_refused_before_anything_is_loaded(made: Made) -> None:
    live = LiveModels(replace(made.recipe, stages=()))
    sentence = Sentence(tokens=("a", "b"), activations=np.array([0, 1], dtype=np.float32))
    longer = "a" * (LONGEST_EXPLANATION_CHARACTERS + 1)
    assert refused(lambda: live.predict(made.by_rule(), longer, sentence)) == (
        "the explanation has 1001 characters; at most 1000 are taken, so shorten it"
    )
    assert "a lone surrogate" in refused(lambda: live.predict(made.by_rule(), "\udfff", sentence))
    assert "no settings stored in the run" in refused(lambda: live.predict(made.by_rule(), longer[1:], sentence))


def repeated_token(live: LiveModels, count: int) -> str:
    """A text of exactly so many tokens: "~" occurs in no text that the tokenizer has learned pairs from."""
    text = "~" * count
    assert len(encode_text(live.subject(), text)) == count
    return text


def test_as_many_tokens_as_the_context_has_less_the_one_before(made: Made, live: LiveModels) -> None:
    room = CONTEXT_TOKENS - 1
    assert len(live.sentence(UNIT, repeated_token(live, room)).tokens) == room
    assert refused(lambda: live.sentence(UNIT, repeated_token(live, room + 1))) == (
        "the text has 128 tokens of the subject's; at most 127 are taken, so shorten it"
    )
    free = LiveModels(replace(made.recipe, bos_token=None))
    assert len(free.sentence(UNIT, repeated_token(free, CONTEXT_TOKENS)).tokens) == CONTEXT_TOKENS
    assert "has 129 tokens of the subject's; at most 128" in refused(
        lambda: free.sentence(UNIT, repeated_token(free, CONTEXT_TOKENS + 1))
    )


def test_no_more_tokens_than_a_page_shows(tmp_path: Path) -> None:
    live = LiveModels(recipe_of(write_subject(tmp_path / "subject", n_positions=2 * MOST_TOKENS), bos=0))
    assert len(live.sentence(UNIT, repeated_token(live, MOST_TOKENS)).tokens) == MOST_TOKENS
    message = refused(lambda: live.sentence(UNIT, repeated_token(live, MOST_TOKENS + 1)))
    assert message.startswith("the text has 513 tokens of the subject's; at most 512")


@pytest.mark.parametrize("text", [" ", "\n", "\x00", "日本語", "🜚", "<|endoftext|>", "e\u0301", "\ufffd"])
def test_any_text_is_read_as_it_is_typed(live: LiveModels, text: str) -> None:
    """Also a special token's text, which is plain characters here; bytes that are no whole character are escaped."""
    sentence = live.sentence(UNIT, text)
    assert len(sentence.tokens) == len(sentence.activations)
    assert np.isfinite(sentence.activations).all()
    # the tokenizer has learned no pair of bytes beyond ASCII, so each of these is a token of its own
    escaped = "".join(chr(byte) if byte < 0x80 else f"\\x{byte:02x}" for byte in text.encode())
    assert "".join(sentence.tokens) == escaped
    assert sentence.tokens != ("<|endoftext|>",)


@pytest.mark.parametrize("unit", ["mlp.3:0", "mlp.0:40", "attn.0:0", "mlp.99:99"])
def test_a_unit_that_the_subject_lacks_is_refused(live: LiveModels, unit: str) -> None:
    asked = parse_unit(unit)
    assert asked is not None
    message = refused(lambda: live.sentence(asked, TEXT))
    assert message.startswith(f"{unit} is no unit of this subject")


def test_a_text_that_the_tokenizer_cannot_take_is_refused(tmp_path: Path) -> None:
    """A vocabulary of whole words that has no entry for unknown ones."""
    folder = write_subject(tmp_path / "subject")
    file = folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    tokenizer["model"] = {"type": "WordLevel", "vocab": {"rain": 5, "river": 6}, "unk_token": "none"}
    tokenizer |= {"pre_tokenizer": {"type": "WhitespaceSplit"}, "decoder": None, "added_tokens": []}
    file.write_text(json.dumps(tokenizer), encoding="utf-8")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink(missing_ok=True)
    live = LiveModels(recipe_of(folder))
    assert live.sentence(UNIT, "river rain").tokens == ("river", "rain")
    assert "the subject has no tokens for this text" in refused(lambda: live.sentence(UNIT, "river ship"))
    assert refused(lambda: live.sentence(UNIT, "  ")) == "the text is empty; type at least one token"


def test_activations_that_are_no_numbers_are_refused(made: Made) -> None:
    live = LiveModels(made.recipe)
    subject = live.subject()
    (token,) = encode_text(subject, "~")
    subject.base.get_input_embeddings().weight[token] = torch.nan
    assert "not finite numbers" in refused(lambda: live.sentence(UNIT, "a~"))
    assert np.isfinite(live.sentence(UNIT, "ab").activations).all()


# models that are not at hand ------------------------------------------------------------------------------------------


def test_a_subject_that_is_gone_or_changed_is_refused_until_it_is_back(made: Made, tmp_path: Path) -> None:
    folder = tmp_path / "subject"
    live = LiveModels(replace(made.recipe, subject_folder=str(folder)))
    assert f"no such folder {folder}; put the model back there" in refused(lambda: live.sentence(UNIT, TEXT))
    shutil.copytree(made.subject, folder)
    edit_json(folder / "config.json", layer_norm_epsilon=1e-3)
    message = refused(live.subject)
    assert f"the files in {folder} are not those that the run was made with" in message
    (folder / "config.json").unlink()
    assert "holds no config.json" in refused(live.subject)
    shutil.copy(made.subject / "config.json", folder)
    assert len(live.sentence(UNIT, TEXT).tokens)


def test_a_subject_of_another_kind_than_recorded_is_refused(made: Made) -> None:
    """The files are the same, but a newer library makes another model of them."""
    details = tuple(sorted((dict(made.recipe.subject.details) | {"architecture": "GPT1"}).items()))
    live = LiveModels(replace(made.recipe, subject=replace(made.recipe.subject, details=details)))
    assert "architecture was GPT1 in the run and is GPT2LMHeadModel here" in refused(live.subject)


def test_a_damaged_subject_is_refused_as_at_a_capture(tmp_path: Path) -> None:
    folder = write_subject(tmp_path / "subject")
    recipe = recipe_of(folder)
    (folder / "model.safetensors").write_bytes(b"nothing")
    assert "are not those that the run was made with" in refused(LiveModels(recipe).subject)
    recorded = dict(recipe.subject.details) | {"files_sha256": hash_model_folder(folder)}
    recipe = replace(recipe, subject=replace(recipe.subject, details=tuple(sorted(recorded.items()))))
    assert "cannot be loaded" in refused(LiveModels(recipe).subject)


def ask_model(made: Made, series: Series, stages: tuple[SimulateStage, ...]) -> str:
    """Why the series cannot be asked where the run's settings are these."""
    sentence = Sentence(tokens=("a", "b"), activations=np.array([0, 1], dtype=np.float32))
    live = LiveModels(replace(made.recipe, stages=stages))
    message = refused(lambda: live.predict(series, "words", sentence))
    assert " cannot be asked here: " in message
    return message


def test_a_simulator_of_other_versions_is_refused_with_what_differs(made: Made) -> None:
    series = changed_model(made.by_model(1), torch="0.1", transformers="0.2")
    message = ask_model(made, series, made.recipe.stages)
    here = dict(made.by_model(1).simulator.details)
    assert f"torch was 0.1 in the run and is {here['torch']} here" in message
    assert f"transformers was 0.2 in the run and is {here['transformers']} here" in message
    assert "few_shot" not in message  # the other series' settings differ in more
    assert "simulate again" in message


def test_a_simulator_that_is_gone_or_changed_is_refused(made: Made, tmp_path: Path) -> None:
    moved = tmp_path / made.engine.name
    stages = tuple(replace(stage, simulator=str(moved)) for stage in made.recipe.stages if stage.simulator != "rule")
    assert f"no such folder {moved}" in ask_model(made, made.by_model(0), stages)
    shutil.copytree(made.engine, moved)
    edit_json(moved / "config.json", rms_norm_eps=1e-3)
    assert "its files have changed" in ask_model(made, made.by_model(0), stages)


def test_a_simulator_that_was_moved_is_found_where_a_later_stage_had_it(made: Made, tmp_path: Path) -> None:
    """The identity decides, not the path: the newest setting that gives it is taken, one that does not is passed."""
    moved = tmp_path / made.engine.name
    shutil.copytree(made.engine, moved)
    gone = tmp_path / "gone" / made.engine.name
    stages = (simulate_with(gone, 0), simulate_with(moved, 0))
    sentence = Sentence(tokens=("a", "b", "c"), activations=np.array([0, 1, 5], dtype=np.float32))
    found = LiveModels(replace(made.recipe, stages=stages)).predict(made.by_model(0), "words", sentence)
    wanted = LiveModels(made.recipe).predict(made.by_model(0), "words", sentence)
    assert found.error is None
    np.testing.assert_array_equal(found.expected, wanted.expected)


def test_a_rule_of_another_version_is_refused(made: Made) -> None:
    series = made.by_rule()
    old = model_key(Identity(kind="rule", name="older-rule"))
    series = replace(series, simulator=replace(series.simulator, key=old, name="older-rule"))
    message = ask_model(made, series, made.recipe.stages)
    assert "it is older-rule in the run and quoted-tokens here" in message


def test_a_simulator_that_no_settings_name_is_refused(made: Made) -> None:
    rule = tuple(stage for stage in made.recipe.stages if stage.simulator == "rule")
    assert "no settings stored in the run name it" in ask_model(made, made.by_model(0), rule)


def test_a_control_is_refused(made: Made) -> None:
    rows = rows_of(made.run, "SELECT model_key, kind, name FROM models WHERE kind = 'control'")
    (row,) = (row for row in rows if row["name"] == "lookup")
    control = Model(key=row["model_key"], kind=row["kind"], name=row["name"], details=())
    series = replace(made.by_rule(), simulator=control, mode="control")
    assert "it is a control, which reads no explanation" in ask_model(made, series, made.recipe.stages)


def test_an_imported_release_can_be_asked_neither_way(made: Made, tmp_path: Path) -> None:
    config = import_config("gpt2-xl", 0)
    with open_for_writing(tmp_path) as store:
        run = Run(folder=tmp_path, store=store)
        import_neurons(run, "gpt2-xl", config, [make_neuron(0, 5, seed=1)])
        score_published(run, "gpt2-xl", config)
        live = LiveModels(read_recipe(store))
        (series,) = read_series(store)
    assert "were imported from a release" in refused(lambda: live.sentence(Unit(basis="mlp", layer=0, index=5), TEXT))
    sentence = Sentence(tokens=("a", "b"), activations=np.array([0, 1], dtype=np.float32))
    message = refused(lambda: live.predict(series, "words", sentence))
    assert "cannot be asked here: its predictions were imported from a release" in message


def test_differences_name_what_is_on_one_side_alone() -> None:
    assert list_differences((("a", "1"), ("files_sha256", "x")), (("b", "2"), ("files_sha256", "y"))) == (
        "a was 1 in the run and is not set here",
        "b was not set in the run and is 2 here",
        "its files have changed",
    )
    assert list_differences((("a", "1"),), (("a", "1"),)) == ()
