"""localexplain: what the neurons inside a language model do, explained by open-weight models, fully offline.

What notebooks use is in localexplain.api.
"""

__version__ = "0.1.0"
