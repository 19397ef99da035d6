"""A simulator for a configuration."""

from localexplain.engines.base import Engine
from localexplain.errors import ConfigError
from localexplain.simulate.base import SimulateConfig, Simulator
from localexplain.simulate.expected import ExpectedSimulator
from localexplain.simulate.grid import GridSimulator
from localexplain.simulate.rule import RuleSimulator


def load_simulator(config: SimulateConfig, engine: Engine | None) -> Simulator:
    """The simulator of `config.mode`; `engine` is used by all but "rule". Raises ConfigError where it is missing."""
    if config.mode == "rule":
        return RuleSimulator()
    if engine is None:
        raise ConfigError(f'simulate.mode = "{config.mode}" needs a language model; give one, or use mode "rule"')
    return ExpectedSimulator(engine, config) if config.mode == "expected" else GridSimulator(engine, config)
