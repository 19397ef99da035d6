"""The loss of a batch, against one worked out target by target."""

import math

import numpy as np
import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from localexplain.train.examples import NO_TOKEN, NOTHING
from localexplain.train.explainer import Classes, batch_loss

VOCABULARY = 40
LABELS = tuple(range(20, 33))  # 0..10, no, yes
NEGATIVES = (3, 5, 7)
# the tokens that each token's text begins with: of 9 they are 4 and 1, of 4 it is 1, of the others none
BEGINNINGS = {9: (4, 1), 4: (1,)}
LEVEL, SPELL = VOCABULARY, VOCABULARY + 13


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=VOCABULARY,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        tie_word_embeddings=True,
        initializer_range=0.3,
    )
    return Qwen3ForCausalLM(config).eval()


@pytest.fixture
def classes():
    table = torch.full((VOCABULARY, 3), NO_TOKEN)
    for token, beginnings in BEGINNINGS.items():
        table[token, : len(beginnings)] = torch.tensor(beginnings)
    return Classes(vocabulary=VOCABULARY, labels=torch.tensor(LABELS), beginnings=table)


def nats(logits, right, among):
    """The loss of token `right` among those and itself."""
    scores = {token: float(logits[token]) for token in {*among, right}}
    highest = max(scores.values())
    return math.log(sum(math.exp(score - highest) for score in scores.values())) + highest - scores[right]


def by_hand(model, ids, targets):
    """(of labels, of text, of spelled tokens), each a list of nats."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor(ids)).logits.double().numpy()
    labels, text, spelled = [], [], []
    for row, goals in zip(logits, targets, strict=True):
        for place, goal in zip(row, goals, strict=True):
            if goal == NOTHING:
                continue
            if goal < VOCABULARY:
                text.append(nats(place, goal, range(VOCABULARY)))
            elif goal < SPELL:
                labels.append(nats(place, LABELS[goal - LEVEL], (*LABELS, *NEGATIVES)))
            else:
                spelled.append(nats(place, goal - SPELL, BEGINNINGS.get(goal - SPELL, ())))
    return labels, text, spelled


IDS = [[1, 2, 3, 4, 5, 6], [9, 8, 7, 0, 0, 0]]


@pytest.mark.parametrize(
    "targets",
    [
        [[NOTHING, LEVEL, LEVEL + 10, 4, 9, NOTHING], [LEVEL + 12, 39, NOTHING, NOTHING, NOTHING, NOTHING]],
        [[SPELL + 9, SPELL + 4, SPELL + 1, LEVEL + 3, SPELL + 39, 0], [SPELL + 9, SPELL, NOTHING] + [NOTHING] * 3],
        [[NOTHING, SPELL + 9, NOTHING, SPELL + 4, NOTHING, NOTHING], [NOTHING] * 6],
        [[LEVEL + 11] * 6, [NOTHING] * 6],
    ],
    ids=["labels and text", "all three", "spelled alone", "labels alone"],
)
def test_the_loss_is_the_mean_over_all_targets(model, classes, targets):
    labels, text, spelled = by_hand(model, IDS, targets)
    found = batch_loss(model, torch.tensor(IDS), torch.tensor(targets), classes, torch.tensor(NEGATIVES))
    assert float(found.total.detach()) == pytest.approx(np.mean([*labels, *text, *spelled]), abs=1e-5)
    for one, wanted in ((found.labels, labels), (found.text, text)):
        assert one == pytest.approx(np.mean(wanted), abs=1e-5) if wanted else math.isnan(one)


def test_nothing_to_predict_costs_nothing(model, classes):
    found = batch_loss(model, torch.tensor(IDS), torch.full((2, 6), NOTHING), classes, torch.tensor(NEGATIVES))
    assert float(found.total) == 0
    assert math.isnan(found.labels)
    assert math.isnan(found.text)


def test_a_token_that_begins_with_no_other_has_nothing_to_learn(model, classes):
    """ "39" alone: it is certain. Of 9 it is to be told from 4 and 1 alone: other embeddings are not pulled."""
    ids = torch.tensor([[9, 8]])
    alone = batch_loss(model, ids, torch.tensor([[SPELL + 39, NOTHING]]), classes, torch.tensor(NEGATIVES))
    assert float(alone.total.detach()) == pytest.approx(0, abs=1e-6)
    weights = model.get_input_embeddings().weight
    loss = batch_loss(model, ids, torch.tensor([[SPELL + 9, NOTHING]]), classes, torch.tensor(NEGATIVES)).total
    (gradient,) = torch.autograd.grad(loss, weights)
    pulled = set(gradient.abs().sum(dim=1).nonzero().flatten().tolist())
    assert pulled == {9, 4, 1}  # 8 stands behind and is not read; 9 is read too
