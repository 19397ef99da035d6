"""Whether an explanation fits an excerpt, by the probabilities of yes and no."""

import math

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from localexplain.engines.base import LabelReply
from localexplain.engines.scripted import BOS_ID, ScriptedEngine, ScriptedTokenizer
from localexplain.engines.transformers import TransformersEngine
from localexplain.errors import ConfigError, EngineError, UserError
from localexplain.judge.judge import Judge, JudgeConfig, JudgeTask, read_judgement
from localexplain.judge.prompt import judge_labels, judge_question
from localexplain.prompts import load_prompt, show_token
from localexplain.types import TokenCounts
from tests.recording import RecordingEngine
from tests.tiny_models import SENTENCES, train_tokenizer, write_tiny_engine

NO, YES = "\ue000", "\ue001"  # characters that no text here has; their code points are the ids of two words
WORDS = {" no": NO, " yes": YES}


def spelt(text):
    for word, character in WORDS.items():
        text = text.replace(character, word)
    return text


class WordTokenizer(ScriptedTokenizer):
    """One token for each character, and one each for " yes" and " no"; `known` are the words it has."""

    def __init__(self, has_chat_template, known):
        super().__init__(has_chat_template)
        self.known = known

    def encode(self, text):
        for word in self.known:
            text = text.replace(word, WORDS[word])
        return super().encode_starts(text)[0]

    def decode(self, token_ids):
        return spelt(super().decode(token_ids))


class WordEngine(RecordingEngine):
    """A scripted engine with such a vocabulary."""

    def __init__(self, *, label_logprobs=lambda *cell: logs(0.1, 0.3), known=tuple(WORDS), **settings):
        def script(prefix, before, cell):
            return label_logprobs(spelt(prefix), spelt(before), cell)

        super().__init__(label_logprobs=script, **settings)
        self.words = WordTokenizer(settings.get("has_chat_template", True), known)

    @property
    def tokenizer(self):
        return self.words


def logs(*shares):
    return tuple(math.log(share) if share else -math.inf for share in shares)


def task(explanation, *tokens):
    return JudgeTask(explanation=explanation, tokens=tokens)


def judge(engine, *tasks, **changed):
    return Judge(engine, JudgeConfig(**({"prompt_version": "inline-v2", "chat": "never"} | changed))).judge(tasks)


def sent(*tokens, explanation="films", **changed):
    engine = WordEngine()
    judge(engine, task(explanation, *tokens), **changed)
    return engine.requests[0]


def whole_text(request):
    return WordEngine().tokenizer.decode(request.prefix + request.tail)


# the probability -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("no", "yes", "fits"),
    # .3 / .4; .05 / .5; equal, however little; only one of them
    [(0.1, 0.3, 0.75), (0.45, 0.05, 0.1), (1e-9, 1e-9, 0.5), (0.0, 0.2, 1.0), (0.2, 0.0, 0.0)],
)
def test_fits_by_hand(no, yes, fits):
    (reply,) = judge(WordEngine(label_logprobs=lambda *cell: logs(no, yes)), task("films", "a"))
    assert reply.fits == pytest.approx(fits, rel=1e-5)
    assert reply.label_mass == pytest.approx(no + yes, rel=1e-5)
    assert reply.error is None


@given(st.floats(-40, -1), st.floats(-40, -1))
def test_fits_is_the_logistic_of_the_difference(no, yes):
    (reply,) = judge(WordEngine(label_logprobs=lambda *cell: (no, yes)), task("films", "a"))
    # p / (p + q) = 1 / (1 + e^(ln q - ln p))
    assert reply.fits == pytest.approx(1 / (1 + math.exp(no - yes)), rel=1e-4)


def test_no_probability_on_either_is_an_error_and_no_half():
    (reply,) = judge(WordEngine(label_logprobs=lambda *cell: logs(0, 0)), task("films", "a"))
    assert (reply.fits, reply.label_mass, reply.error) == (None, None, "no probability on yes or no")
    assert reply.counts.prompt > 0  # it was run, and cost what it cost


def test_a_reply_without_probabilities_is_an_error():
    counts = TokenCounts(prompt=5)
    failed = read_judgement(LabelReply(logprobs=None, counts=counts, error="out of memory"))
    assert (failed.fits, failed.error, failed.counts) == (None, "out of memory", counts)
    empty = read_judgement(LabelReply(logprobs=None, counts=counts))
    assert (empty.fits, empty.error) == (None, "the engine gave no probabilities")


def test_the_mass_is_at_most_one():
    # rounding in float32 may bring the sum above 1
    rows = np.log(np.array([[0.5, 0.5000001]])).astype(np.float32)
    assert read_judgement(LabelReply(logprobs=rows, counts=TokenCounts())).label_mass == 1.0


# batches -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["v1", "inline-v2"])
@pytest.mark.parametrize("spare", [0, 1])
def test_failed_and_too_long_requests_are_errors_in_their_place(version, spare):
    def belief(prefix, before, cell):
        text = prefix + before
        if "bad" in text:
            raise EngineError("out of memory")
        return logs(0.1, 0.3) if "film" in text else logs(0.3, 0.1)

    longest = sent("film", "longer", prompt_version=version)
    # an engine may write one token more, so that the context has to be larger than the prompt
    context = len(longest.prefix) + len(longest.tail) + spare
    engine = WordEngine(label_logprobs=belief, context_tokens=context)
    tasks = [
        task("films", "film", "longer"),
        task("films", "bad"),
        task("rain", "a"),
        task("films", *["a"] * 5000),
        task("films", "film"),
    ]
    replies = judge(engine, *tasks, prompt_version=version)
    too_long = f"the prompt is longer than the model's context of {context} tokens"
    assert [reply.error for reply in replies] == [None if spare else too_long, "out of memory", None, too_long, None]
    assert [reply.fits for reply in replies] == [
        pytest.approx(0.75) if spare else None, None, pytest.approx(0.25), None, pytest.approx(0.75)
    ]  # fmt: skip
    assert [request.tail == longest.tail for request in engine.requests].count(True) == spare
    assert len(engine.requests) == 3 + spare


def test_nothing_that_fits_asks_nothing():
    engine = WordEngine(context_tokens=5)
    (reply,) = judge(engine, task("films", "a"))
    assert "context of 5 tokens" in reply.error
    assert engine.requests == []
    assert judge(engine) == []


@given(st.lists(st.sampled_from(["yes", "no", "bad", "long"]), max_size=8))
def test_every_reply_is_that_of_its_task_alone(kinds):
    def belief(prefix, before, cell):
        if "bad" in before:
            raise EngineError("out of memory")
        return logs(0.1, 0.3) if "yes" in before else logs(0.3, 0.1)

    engine = WordEngine(label_logprobs=belief, context_tokens=200)
    tasks = [task("films", *([kind] * (100 if kind == "long" else 1))) for kind in kinds]
    found = [(reply.fits, reply.error) for reply in judge(engine, *tasks)]
    assert found == [(reply.fits, reply.error) for one in tasks for reply in judge(engine, one)]
    errors = {"yes": None, "no": None, "bad": "out of memory"}
    wanted = [errors.get(kind, "the prompt is longer than the model's context of 200 tokens") for kind in kinds]
    assert [error for _, error in found] == wanted


# the prompt ----------------------------------------------------------------------------------------------------------


def test_the_inline_prompt_by_hand():
    request = sent(" a\n", "10", "", " no", explanation='the word "river"\nor a bank')
    assert whole_text(request) == 'neuron: the word " river" or a bank\n a\\n10 no\nfits:'
    assert request.positions == (len(request.tail) - 1,)
    assert request.label_ids == (ord(NO), ord(YES))
    assert whole_text(sent("a", explanation="")) == "neuron:\na\nfits:"


def test_the_general_prompt_by_hand():
    request = sent(" a\n", "river", explanation='the word "river"\nor a bank', prompt_version="v1")
    instruction, _, rest = whole_text(request).partition("\n\n")
    assert instruction == load_prompt("judge", "v1").render("instruction.j2")
    assert rest == ('The neuron responds to: the word "river" or a bank\nExcerpt:  a\\nriver\nDoes the excerpt fit?')


def test_the_general_chat_by_hand():
    request = sent(" a\n", "river", prompt_version="v1", chat="always")
    prompt = load_prompt("judge", "v1")
    assert whole_text(request) == (
        f"<system>\n{prompt.render('instruction.j2')}\n"
        "<user>\nThe neuron responds to: films\nExcerpt:  a\\nriver\n\nDoes the excerpt fit? Answer yes or no.\n"
        "<assistant>\n"
    )
    assert request.positions == (len(request.tail) - 1,)


def test_the_inline_version_can_be_asked_in_a_chat():
    text = whole_text(sent("a", chat="always"))
    assert "neuron: films\na" in text.partition("<user>\n")[2]


@pytest.mark.parametrize(("version", "chat"), [("v1", "always"), ("v1", "never"), ("inline-v2", "never")])
def test_one_bos_at_the_very_start(version, chat):
    request = sent("a", "<s>", prompt_version=version, chat=chat)
    assert request.prefix[0] == BOS_ID
    assert (request.prefix + request.tail).count(BOS_ID) == 1


def test_excerpts_of_one_explanation_share_their_prefix():
    engine = WordEngine()
    replies = judge(engine, task("films", "a"), task("films", "b", "c"), task("rain", "a"))
    first, second, third = (request.prefix for request in engine.requests)
    assert first == second != third
    assert replies[1].counts.computed == len(engine.requests[1].tail)
    assert replies[1].counts.prompt == len(first) + len(engine.requests[1].tail)


def test_chat_is_auto_where_there_is_a_template():
    engine, bare = WordEngine(), WordEngine(has_chat_template=False)
    for one in (engine, bare):
        Judge(one, JudgeConfig()).judge([task("films", "a")])
    assert whole_text(engine.requests[0]).startswith("<system>\n")
    assert whole_text(bare.requests[0]).startswith("A neuron of a language model")
    with pytest.raises(ConfigError, match="no chat template"):
        Judge(bare, JudgeConfig(chat="always"))


def test_settings_are_in_the_identity():
    def identity(**changed):
        return Judge(WordEngine(name="x"), JudgeConfig(**changed)).identity

    assert (identity().kind, identity().name) == ("scripted", "x")
    assert dict(identity().details) == {"judge.prompt": load_prompt("judge", "v1").identity, "judge.chat": "yes"}
    inline = dict(identity(prompt_version="inline-v2", chat="never").details)
    assert inline == {"judge.prompt": load_prompt("judge", "inline-v2").identity, "judge.chat": "no"}


def test_a_version_there_is_not_is_refused():
    with pytest.raises(UserError, match="no version 'v9' of the prompt 'judge'"):
        Judge(WordEngine(), JudgeConfig(prompt_version="v9"))


# the words -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["v1", "inline-v2"])
@pytest.mark.parametrize(("known", "lost"), [((), " no"), ((" no",), " yes"), ((" yes",), " no")])
def test_a_vocabulary_without_one_token_for_each_is_refused(version, known, lost):
    with pytest.raises(EngineError, match=f"no single token for '{lost}'"):
        Judge(WordEngine(known=known), JudgeConfig(prompt_version=version))


def test_the_plain_scripted_vocabulary_is_such_a_one():
    with pytest.raises(EngineError, match="no single token for ' no'"):
        Judge(ScriptedEngine(), JudgeConfig())


# a real model --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny random model whose vocabulary has " yes" and " no"."""
    folder = write_tiny_engine(tmp_path_factory.mktemp("models") / "tiny-llama", family="llama", padded_vocabulary=640)
    answers = tuple(f"Does it fit? {answer}\nfits: {answer}\n" for answer in ("yes", "no") * 20)
    backend = train_tokenizer((*SENTENCES, *answers), vocabulary=640)
    PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    ).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("version", ["v1", "inline-v2"])
def test_fits_is_that_of_the_whole_prompt_run_plainly(folder, version):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    engine = TransformersEngine.load(folder, device="cpu")
    encode, prompt = engine.tokenizer.encode, load_prompt("judge", version)
    (no,), (yes,) = encode(" no"), encode(" yes")
    assert judge_labels(prompt, engine.tokenizer) == (no, yes)
    tasks = [task("words for boats", "The", " ferry", "\n"), task("", "harbour"), task("the rain", " ten", ".")]
    replies = judge(engine, *tasks, prompt_version=version)
    engine.close()
    instruction = prompt.render("instruction.j2")
    header = {"v1": "The neuron responds to:", "inline-v2": "neuron:"}[version]
    for asked, reply in zip(tasks, replies, strict=True):
        explanation = f" {asked.explanation}" if asked.explanation else ""
        head = f"{instruction}\n\n{header}{explanation}\n" if instruction else f"{header}{explanation}\n"
        excerpt = {"v1": "Excerpt: ", "inline-v2": ""}[version] + "".join(map(show_token, asked.tokens))
        ids = [index for part in (head, excerpt, judge_question(prompt)) for index in encode(part)]
        with torch.no_grad():
            shares = torch.softmax(model(torch.tensor([ids])).logits[0, -1].double(), dim=-1)
        assert reply.error is None
        assert reply.fits == pytest.approx(float(shares[yes] / (shares[no] + shares[yes])), abs=1e-3)
        assert reply.label_mass == pytest.approx(float(shares[no] + shares[yes]), rel=1e-3)
    assert np.ptp([reply.fits for reply in replies]) > 0.01  # the model does tell the excerpts apart
