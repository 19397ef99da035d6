"""The recipe's tokenizer, trained on three sentences."""

from localexplain.engines.tokenizer import HuggingFaceTokenizer
from localexplain.train.explainer_settings import ExplainerTraining
from localexplain.train.training_set import make_tokenizer

SENTENCES = (
    "the cat sat on the mat and the dog lay by the door.",
    "neuron: words about cats and dogs, such as cat, dog and kitten",
    "a river runs by the house, and the house has a red door.",
)
TOKENIZER = HuggingFaceTokenizer(
    make_tokenizer(ExplainerTraining(texts="", out="", vocabulary=800), SENTENCES * 50, [])
)
