"""The table of published scores holds what it promises, its parts agree, and a damaged one gives one clear error."""

import tomllib

import pytest

from localexplain.errors import UserError
from localexplain.published.table import TABLE, Figure, LayerMean, parse_table, read_table
from localexplain.resources import resource

SHIPPED = read_table()
TEXT = resource(*TABLE).read_text(encoding="utf-8")


def figures(value):
    """Every figure in a record, wherever it is."""
    if isinstance(value, Figure):
        return [value]
    if isinstance(value, tuple):
        return [figure for item in value for figure in figures(item)]
    names = getattr(value, "__dataclass_fields__", ())
    return [figure for name in names for figure in figures(getattr(value, name))]


# the numbers ---------------------------------------------------------------------------------------------------------


def test_the_source_and_the_means_over_all_neurons():
    assert (SHIPPED.source.year, SHIPPED.source.subject) == (2023, "GPT-2 XL")
    assert SHIPPED.source.layers * SHIPPED.source.neurons_per_layer == 307_200
    assert SHIPPED.mean.top_and_random == Figure(value=0.151, mark="stated")
    assert SHIPPED.mean.random_only == Figure(value=0.037, mark="stated")
    assert SHIPPED.sd == Figure(value=0.185, mark="digitised")


def test_the_layers_average_to_the_stated_mean():
    """Layers have equally many neurons, so the mean over layers is the mean over neurons: 7.287 / 48 = 0.1518. Off
    from the stated 0.151 by no more than what each layer may be off by, 0.001."""
    assert [item.layer for item in SHIPPED.layers] == list(range(48))
    total = sum(item.mean.value for item in SHIPPED.layers)
    assert total == pytest.approx(7.287)
    error = SHIPPED.layers[0].mean.error
    assert error == 0.001
    assert total / 48 == pytest.approx(SHIPPED.mean.top_and_random.value, abs=error)


def test_some_layers_on_random_excerpts():
    layers = [item.layer for item in SHIPPED.layers_random_only]
    assert (len(layers), layers) == (13, sorted(set(layers)))
    assert SHIPPED.layers_random_only[-1] == LayerMean(
        layer=47, mean=Figure(value=0.021, mark="digitised", error=0.003)
    )
    by_layer = {item.layer: item.mean.value for item in SHIPPED.layers}
    assert all(item.mean.value < by_layer[item.layer] for item in SHIPPED.layers_random_only)


def test_the_quantiles_rise_and_surround_the_mean():
    values = {item.fraction: item.score.value for item in SHIPPED.quantiles}
    assert list(values) == sorted(values) == [0.25, 0.5, 0.75, 0.9, 0.95, 0.99]
    assert list(values.values()) == sorted(values.values())
    assert values[0.5] < SHIPPED.mean.top_and_random.value < values[0.75]  # few neurons score high, so above the middle
    assert SHIPPED.not_above_zero_fraction.top_and_random.value < 0.25  # a quarter of them lies below 0.020, above 0


def test_explainers_and_simulators_with_gpt4_in_both_places():
    assert [item.name for item in SHIPPED.explainers[:5]] == [item.name for item in SHIPPED.simulators]
    assert SHIPPED.explainers[5].name == "human contractors"
    as_explainer, as_simulator = SHIPPED.explainers[4], SHIPPED.simulators[4]
    assert as_explainer.mean.top_and_random == Figure(
        value=0.144, mark="digitised", error=0.0005, low=0.142, high=0.146
    )
    assert as_explainer.mean.random_only == Figure(value=0.0353, mark="digitised", error=0.0005)
    assert as_simulator.mean == Figure(value=0.154, mark="digitised", error=0.001, low=0.144, high=0.165)
    assert as_simulator.human_agreement == Figure(value=0.628, mark="digitised", error=0.001)
    assert as_simulator.human_agreement.value < SHIPPED.human_human_agreement.value == 0.675
    scores = [item.mean.top_and_random.value for item in SHIPPED.explainers]
    assert scores == sorted(scores)


def test_baselines():
    by_name = {item.name: item for item in SHIPPED.baselines}
    assert {name: item.mean.top_and_random.value for name, item in by_name.items()} == {
        "lookup": 0.531,
        "linear": 0.101,
        "lookup summarised": 0.145,
        "linear summarised": 0.063,
        "next token": 0.063,
    }
    assert {name: len(item.by_layer) for name, item in by_name.items() if item.by_layer} == {"lookup": 7, "linear": 7}
    assert by_name["linear"].by_layer[0].mean.value == 0.66
    assert by_name["lookup"].by_layer[0].mean.value == 0.9
    assert by_name["lookup summarised"].mean.random_only.value == 0.059
    assert by_name["lookup"].mean.random_only is None


def test_puzzles_are_counted_within_their_number():
    puzzles = SHIPPED.puzzles
    assert (puzzles.count, puzzles.solved, puzzles.solved_after_revision) == (19, 5, 4)
    assert (puzzles.ranked_first, puzzles.ranked_in_top_two) == (16, 18)


def test_every_figure_is_marked_and_within_its_interval():
    found = figures(SHIPPED)
    # 2 means, 1 sd, 2 shares, 6 quantiles, 48 and 13 layers, 6 explainers twice, 5 simulators twice, 1 agreement,
    # 5 baselines, one of them twice, 7 layers for two of them
    assert len(found) == 2 + 1 + 2 + 6 + 48 + 13 + 12 + 10 + 1 + 6 + 14
    for figure in found:
        assert -1 <= figure.value <= 1
        assert figure.mark == "digitised" or figure.error is None
        assert (figure.low is None) == (figure.high is None)
        assert figure.low is None or figure.low <= figure.value <= figure.high
    assert [figure.value for figure in found if figure.mark == "stated"] == [0.151, 0.037]


def unmarked(value, path="", marked=False):
    """The places of numbers in the file that neither they nor a table around them marks."""
    if isinstance(value, dict):
        marked = marked or "mark" in value
        return [place for name, item in value.items() for place in unmarked(item, f"{path}.{name}", marked)]
    if isinstance(value, list):
        return [place for item in value for place in unmarked(item, path, marked)]
    return [path] if isinstance(value, int | float) and not marked else []


def test_every_number_in_the_file_is_marked():
    data = tomllib.loads(TEXT)
    assert unmarked(data) == [".source.year", ".source.layers", ".source.neurons_per_layer"]
    assert unmarked({"a": {"b": [{"value": 1}]}, "c": {"mark": "stated", "value": 2}}) == [".a.b.value"]


# a damaged file ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[sd]", "[another]", "KeyError: 'sd'"),
        ('value = 0.151, mark = "stated"', 'value = 0.151, mark = "guessed"', "ValueError: mark 'guessed'"),
        ('value = 0.151, mark = "stated"', "value = 0.151", "KeyError: 'mark'"),
        ("value = 0.380", "value = true", "TypeError: True is no number"),
        ("value = 0.380", 'value = "0.380"', "TypeError: '0.380' is no number"),
        ("solved = 5", "solved_by = 5", "TypeError: .*solved"),
        ("[source]", "[source", "not TOML"),
    ],
)
def test_a_damaged_table_gives_one_clear_error(tmp_path, old, new, message):
    path = tmp_path / "scores.toml"
    assert TEXT.count(old) == 1
    path.write_text(TEXT.replace(old, new), encoding="utf-8")
    with pytest.raises(UserError, match=rf"scores\.toml: .*{message}.*; put the file back"):
        read_table(path)


def test_a_missing_or_binary_table(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        read_table(tmp_path / "none.toml")
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UserError, match="not TOML"):
        read_table(tmp_path / "binary.toml")


def test_one_number_in_the_file_is_one_number_in_the_table(tmp_path):
    path = tmp_path / "scores.toml"
    path.write_text(TEXT.replace("{ layer = 7, value = 0.223 }", "{ layer = 7, value = 0.5 }"), encoding="utf-8")
    other = read_table(path)
    assert [number for number in range(48) if other.layers[number] != SHIPPED.layers[number]] == [7]
    assert parse_table(tomllib.loads(TEXT)) == SHIPPED
