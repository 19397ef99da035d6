"""Explaining with a scripted engine: what is asked of it, and what is made of its answers."""

import re
from dataclasses import replace

import numpy as np
import pytest

from localexplain.engines.scripted import BOS_ID, ScriptedEngine
from localexplain.errors import ConfigError, EngineError
from localexplain.explain.language_model import ExplainConfig, LanguageModelExplainer, sampling_seed
from localexplain.types import ExplainTask, Record, Unit
from tests.recording import RecordingEngine

OPENING = "This neuron responds to"


def task(*tokens, index=0, sample=0, seed=0, split="train"):
    unit = Unit(basis="mlp", layer=0, index=index)
    record = Record(
        unit=unit,
        excerpt_id=index,
        kind="top",
        rank=0,
        stratum=None,
        split=split,
        tokens=tokens,
        token_ids=tuple(range(len(tokens))),
        activations=np.arange(1, len(tokens) + 1, dtype=np.float32),
    )
    return ExplainTask(unit=unit, records=(record,), sample=sample, seed=seed)


def explain(engine, *tasks, **settings):
    return LanguageModelExplainer(engine, ExplainConfig(**settings)).explain(tasks)


def prompt_length(chat, few_shot, *tokens):
    """How many tokens the prompt has, by asking an engine with room for all."""
    engine = RecordingEngine()
    explain(engine, task(*tokens), chat=chat, few_shot=few_shot)
    return len(engine.requests[0].token_ids)


# the prompt that is sent ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chat", ["always", "never"])
def test_the_prompt_has_one_bos_and_ends_with_the_opening(chat):
    engine = RecordingEngine()
    (reply,) = explain(engine, task(" rain", "<|im_start|>"), chat=chat)
    ids = engine.requests[0].token_ids
    assert ids[0] == BOS_ID
    assert ids.count(BOS_ID) == 1
    text = engine.tokenizer.decode(ids)
    assert text.endswith(OPENING)  # no space behind it: it belongs to the next token
    assert " rain\t5\n<|im_start|>\t10\n</excerpt>" in text
    assert text.startswith("<system>" if chat == "always" else "You are shown")
    assert reply.prompt.endswith(OPENING)
    assert "\n rain\t5\n" in reply.prompt


def test_auto_takes_the_template_where_there_is_one():
    for has_template, start in ((True, "<system>"), (False, "You are shown")):
        engine = RecordingEngine(has_chat_template=has_template)
        explain(engine, task("a"))
        assert engine.tokenizer.decode(engine.requests[0].token_ids).startswith(start)
    with pytest.raises(ConfigError, match="no chat template"):
        LanguageModelExplainer(ScriptedEngine(has_chat_template=False), ExplainConfig(chat="always"))


@pytest.mark.parametrize("few_shot", [0, 2])
def test_few_shot_is_obeyed(few_shot):
    engine = RecordingEngine()
    explain(engine, task("a"), few_shot=few_shot)
    assert engine.tokenizer.decode(engine.requests[0].token_ids).count(OPENING) == few_shot + 1


@pytest.mark.parametrize("chat", ["always", "never"])
@pytest.mark.parametrize("room", [0, 1, 2])
def test_examples_are_left_out_until_the_context_has_room(chat, room):
    # exactly as long as `room` examples need with 60 tokens to write, so that one more would not fit
    context_tokens = prompt_length(chat, room, "a") + 60
    engine = RecordingEngine(context_tokens=context_tokens)
    (reply,) = explain(engine, task("a"), chat=chat)
    assert reply.error is None
    assert reply.prompt.count(OPENING) == room + 1


def test_a_prompt_too_long_without_examples_fails_alone():
    engine = RecordingEngine(context_tokens=prompt_length("never", 0, "a") + 60)
    replies = explain(engine, task("a"), task("a" * 500), task("a"), chat="never")
    assert [reply.error is None for reply in replies] == [True, False, True]
    assert replies[1].text is None
    assert re.search(r"longer than the model's context of \d+ tokens", replies[1].error)
    assert len(engine.requests) == 2


def test_records_that_are_scored_on_never_reach_the_engine():
    engine = RecordingEngine()
    with pytest.raises(ValueError, match="of the split valid"):
        explain(engine, task("a"), task("b", split="valid"))
    assert engine.requests == []


# sampling ------------------------------------------------------------------------------------------------------------


def test_every_setting_reaches_every_request():
    engine = RecordingEngine()
    explain(engine, task("a"), task("b"), temperature=0.5, top_p=0.9, max_tokens=17, chat="never")
    for request in engine.requests:
        sampling = request.sampling
        assert (sampling.temperature, sampling.top_p, sampling.max_tokens) == (0.5, 0.9, 17)
        assert sampling.stop == ("\n",)
        assert request.pattern is None
    explain(engine, task("a"))
    assert engine.requests[-1].sampling == replace(
        engine.requests[0].sampling, temperature=1.0, top_p=1.0, max_tokens=60, stop=()
    )


def test_samples_units_and_seeds_have_randomness_of_their_own():
    tasks = [task("a", index=i, sample=n, seed=s) for i in range(3) for n in range(3) for s in range(3)]
    engine = RecordingEngine()
    explain(engine, *tasks)
    seeds = [request.sampling.seed for request in engine.requests]
    assert len(set(seeds)) == 27
    assert all(0 <= seed < 2**31 for seed in seeds)
    # what a task is asked with does not hang on its company
    explain(engine, tasks[13])
    assert engine.requests[-1] == engine.requests[13]
    assert sampling_seed(tasks[13]) == seeds[13]


# answers -------------------------------------------------------------------------------------------------------------


def test_replies_are_in_order_and_a_failed_one_leaves_the_others():
    def answer(prompt):
        if "\nsnow\t10\n" in prompt:
            raise EngineError("out of memory")
        return " the rain.\nAnd so on." if "\nrain\t10\n" in prompt else "  \n"

    replies = explain(ScriptedEngine(generate=answer), task("rain"), task("snow"), task("sun"), task("rain"))
    assert [reply.text for reply in replies] == ["the rain", None, None, "the rain"]
    assert [reply.error for reply in replies] == [None, "out of memory", "the model wrote no explanation", None]
    assert replies[0].raw == " the rain.\nAnd so on."
    assert replies[0].counts.generated == len(replies[0].raw)
    assert replies[0].counts.prompt > 1000
    assert "\nsnow\t10\n" in replies[1].prompt  # what failed can be looked at


def test_an_answer_cut_by_its_limit_loses_the_half_word():
    # one token for each character: 16 of them are " words about rai"
    (reply,) = explain(ScriptedEngine(generate=lambda prompt: " words about rain"), task("a"), max_tokens=16)
    assert reply.raw == " words about rai"
    assert reply.text == "words"


def test_no_tasks_ask_nothing():
    engine = RecordingEngine()
    assert explain(engine) == []
    assert engine.requests == []


# configuration -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [{"temperature": 0.0}, {"top_p": 0.5}, {"max_tokens": 61}, {"few_shot": 2}, {"chat": "never"}],
    ids=lambda settings: next(iter(settings)),
)
def test_every_setting_that_changes_an_explanation_is_in_the_identity(settings):
    def identity(**changed):
        return LanguageModelExplainer(ScriptedEngine(), ExplainConfig(**changed)).identity

    assert identity(**settings) != identity()
    assert identity(chat="always") == identity()  # the same prompts, whether asked for or found
    assert identity(samples=2) == identity()  # a sample is a task of its own


def test_identity_holds_the_engines_and_the_prompts():
    found = LanguageModelExplainer(ScriptedEngine(name="x"), ExplainConfig()).identity
    assert (found.kind, found.name) == ("scripted", "x")
    assert re.fullmatch(r"explain/v1@[0-9a-f]{8}", dict(found.details)["explain.prompt"])
    assert list(found.details) == sorted(found.details)


@pytest.mark.parametrize(
    "settings",
    [
        {"samples": 0},
        {"temperature": -0.1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"max_tokens": 0},
        {"few_shot": -1},
    ],
)
def test_values_out_of_range_are_named(settings):
    with pytest.raises(ConfigError, match=rf"^explain\.prompt\.{next(iter(settings))} = "):
        ExplainConfig(**settings)


def test_more_examples_than_there_are():
    with pytest.raises(ConfigError, match="0 to 3 examples"):
        LanguageModelExplainer(ScriptedEngine(), ExplainConfig(few_shot=4))
