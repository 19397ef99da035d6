"""The judge's prompt: an explanation, an excerpt, one question that "yes" or "no" answers. Pure."""

from localexplain.engines.base import EngineTokenizer
from localexplain.engines.labels import label_id
from localexplain.errors import EngineError
from localexplain.prompts import PromptFiles

TASK = "judge"


def judge_question(prompt: PromptFiles) -> str:
    """What stands behind the excerpt; the answer comes right after it."""
    return prompt.setting("question")


def judge_labels(prompt: PromptFiles, tokenizer: EngineTokenizer) -> tuple[int, int]:
    """The one token of no and of yes behind the question. Raises EngineError where either takes more than one."""
    found: list[int] = []
    for answer in ("no", "yes"):
        text = prompt.setting(answer)
        token = label_id(tokenizer.encode, tokenizer.decode, judge_question(prompt), text)
        if token is None:
            raise EngineError(f"the vocabulary has no single token for {text!r}; judge with another model")
        found.append(token)
    return found[0], found[1]
