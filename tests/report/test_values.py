import json

import pytest

from localexplain.errors import UserError
from localexplain.report.values import run_values, unit_values
from localexplain.store.store import Store


def test_run_values_are_json(store: Store) -> None:
    values = run_values(store)
    assert json.loads(json.dumps(values)) == values
    by_rule, by_model = values["series"]
    assert by_rule["scores"]["top_and_random"]["mean"] == pytest.approx(0.4)
    assert (by_rule["scores"]["top_and_random"]["n"], by_rule["scores"]["top_and_random"]["unscored"]) == (3, 2)
    assert by_rule["controls"]["lookup"]["top_and_random"]["mean"] == pytest.approx(0.55)
    assert set(by_rule["controls"]) == {"lookup", "linear", "shuffled", "empty"}
    assert by_rule["calibrated"]["explained_variance"]["random_only"]["mean"] == 0.25
    assert (by_model["mode"], by_model["explainer"]["name"]) == ("expected", "writer")
    assert by_rule["layers"][1]["controls"]["lookup"] == pytest.approx(0.3)
    assert sum(item["random_only"] for item in by_rule["unscored"] if item["source"] == "empty") == 5
    assert values["subject"]["details"]["files_sha256"] == "ab12"
    assert values["stages"][0]["started_at"] == "2026-01-02T03:04:00"
    assert values["seconds"]["capture"] == 60.0
    assert values["tokens"] == {"prompt": 1100, "computed": 110, "generated": 11}


def test_unit_values_are_json(store: Store) -> None:
    values = unit_values(store, "mlp.0:0")
    assert json.loads(json.dumps(values)) == values
    assert [item["text"] for item in values["explanations"]] == ["the token ' rain'", "weather & storms"]
    assert values["records"][0]["tokens"][3] == "<script>"
    assert values["records"][1]["simulated"][0]["expected"] == [10.0, 0.0, 0.0, 0.0, 0.0]
    keys = {model["key"] for model in (item["explainer"] for item in values["explanations"])}
    assert keys == {"namer", "writer"}
    with pytest.raises(UserError, match="layers go from 0 to 1"):
        unit_values(store, "mlp.7:0")
