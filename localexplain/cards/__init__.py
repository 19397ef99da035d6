"""Cards of open-weight models: what is known of each, what it asks of memory, and whether files agree with it."""

from localexplain.cards.card import Architecture as Architecture
from localexplain.cards.card import ModelCard as ModelCard
from localexplain.cards.card import Quantisation as Quantisation
from localexplain.cards.card import Thinking as Thinking
from localexplain.cards.card import card_of as card_of
from localexplain.cards.card import card_values as card_values
from localexplain.cards.card import find_card as find_card
from localexplain.cards.card import read_card_file as read_card_file
from localexplain.cards.card import read_cards as read_cards
from localexplain.cards.check import check_card as check_card
from localexplain.cards.memory import TensorParallel as TensorParallel
from localexplain.cards.memory import cache_bytes_per_token as cache_bytes_per_token
from localexplain.cards.memory import tensor_parallel_advice as tensor_parallel_advice
from localexplain.cards.memory import weight_bytes as weight_bytes
from localexplain.cards.show import show_card as show_card
