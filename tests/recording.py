"""A scripted engine that remembers what it was asked."""

from localexplain.engines.scripted import ScriptedEngine, level


class RecordingEngine(ScriptedEngine):
    """By default it explains everything by rain, and believes every label position to be silent."""

    def __init__(
        self, *, generate=lambda prompt: " words about rain.", label_logprobs=lambda *cell: level(0), **settings
    ):
        super().__init__(generate=generate, label_logprobs=label_logprobs, **settings)
        self.requests = []

    def generate(self, requests):
        self.requests += requests
        return super().generate(requests)

    def label_logprobs(self, requests):
        self.requests += requests
        return super().label_logprobs(requests)
