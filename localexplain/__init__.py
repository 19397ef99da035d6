"""localexplain: what the neurons inside a language model do, explained by open-weight models, fully offline."""

__version__ = "0.1.0"
