import pytest

from localexplain.engines.scripted import ScriptedEngine
from localexplain.errors import ConfigError
from localexplain.simulate.base import SimulateConfig
from localexplain.simulate.load import load_simulator


@pytest.mark.parametrize("mode", ["expected", "grid", "rule"])
def test_mode_is_obeyed(mode):
    assert load_simulator(SimulateConfig(mode=mode), ScriptedEngine()).mode == mode


def test_identities_of_the_modes_differ():
    found = {
        load_simulator(SimulateConfig(mode=mode), ScriptedEngine()).identity for mode in ("expected", "grid", "rule")
    }
    assert len(found) == 3


def test_only_the_rule_needs_no_model():
    assert load_simulator(SimulateConfig(mode="rule"), None).mode == "rule"
    for mode in ("expected", "grid"):
        with pytest.raises(ConfigError, match=f'simulate.mode = "{mode}" needs a language model'):
            load_simulator(SimulateConfig(mode=mode), None)


def test_a_negative_number_of_examples_is_named():
    with pytest.raises(ConfigError, match=r"^simulate\.prompt\.few_shot = -1: "):
        SimulateConfig(few_shot=-1)
