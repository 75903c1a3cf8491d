import numpy as np
import pandas as pd
import pytest

from ddlib._io import read_json
from ddlib.study.readme import study_table
from ddlib.study.reference import TOLERANCE, compare_with_study, reference_table
from ddlib.study.report import findings, summary
from ddlib.study.results import COLUMNS, load_results, save_results


def row(model="gan", source="gan", protocol="clean", **values):
    blank = dict.fromkeys(COLUMNS)
    base = {
        "tier": "simulated",
        "protocol": protocol,
        "condition": model,
        "test_set": source,
        "n_real": 100,
        "n_fake": 100,
        "result_id": f"{protocol}-{model}-{source}",
    }
    for measure in ("accuracy", "recall_fake"):
        value = values.get(measure, 0.5)
        base |= {measure: value, f"{measure}_low": value - 0.1, f"{measure}_high": value + 0.1}
    return {**blank, **base, **values}


def test_the_study_s_own_shape_is_complete():
    table = reference_table()
    assert len(table[table["table"] == "Table 1"]) == 8
    assert len(table[table["table"] == "Table 2"]) == 12
    cell = table.set_index(["test_set", "condition"])["study"]
    assert cell["gan", "gan"] == 0.941
    assert cell["sd", "gan+sd"] == 0.98


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        (0.941, "reproduced"),
        (0.941 - 0.1 - TOLERANCE + 0.001, "reproduced"),
        (0.941 - 0.1 - TOLERANCE - 0.001, "not reproduced"),
        (1.0, "reproduced"),
    ],
)
def test_the_verdict_follows_the_stated_rule(ours, verdict):
    table = compare_with_study(pd.DataFrame([row(accuracy=ours)]))
    assert table.loc[0, "verdict"] == verdict
    assert table.loc[0, "n"] == 200
    assert set(table.loc[1:, "verdict"]) == {"not run"}


def test_toy_generators_stand_for_the_study_s_sets():
    table = compare_with_study(pd.DataFrame([row(source="sim-sd768", recall_fake=0.02, n_real=0)]))
    mine = table[table["test_set"].eq("sd21") & table["condition"].eq("gan")].iloc[0]
    assert (mine["our_source"], mine["n"], mine["verdict"]) == ("sim-sd768", 100, "reproduced")


def test_kept_results_replace_their_older_selves_only(tmp_path):
    first = pd.DataFrame([row(), row("gan+sd")])
    save_results(tmp_path, first, {"seconds": 1})
    again = pd.DataFrame([row(accuracy=0.9, result_id="new")])
    save_results(tmp_path, again, {"seconds": 2})
    table = load_results(tmp_path).set_index("result_id")
    assert sorted(table.index) == ["clean-gan+sd-gan", "new"]
    assert table.loc["new", "accuracy"] == 0.9
    facts = read_json(tmp_path / "results.json")
    assert facts == {"new": {"seconds": 2}, "clean-gan+sd-gan": {"seconds": 1}}


def test_the_table_has_one_order_whichever_model_was_measured_first(tmp_path):
    for protocol, model in (("clean", "gan+sd"), ("paper", "gan+ela"), ("clean", "gan")):
        sets = [row(model, source, protocol) for source in ("sd", "gan")]
        save_results(tmp_path, pd.DataFrame(sets), {})
    kept = load_results(tmp_path)
    found = (kept["protocol"] + " " + kept["condition"] + " " + kept["test_set"]).tolist()
    assert found == [
        *("paper gan+ela sd", "paper gan+ela gan", "clean gan sd", "clean gan gan"),
        *("clean gan+sd sd", "clean gan+sd gan"),
    ]


def test_without_results_the_error_says_what_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="run notebooks 02 and 03"):
        load_results(tmp_path)


def test_findings_hold_or_not_by_their_bounds():
    table = pd.DataFrame(
        [
            row("gan", "gan", accuracy=0.9),
            row("gan", "sd", recall_fake=0.3),
            row("gan+ela", "gan", accuracy=0.85),
        ]
    )
    holds = findings(table).set_index("finding")["holds"]
    assert holds["gan tells GAN faces"] == "yes"
    assert holds["gan misses SD faces"] == "no"
    assert holds["gan+sd finds SD faces"] == "-"
    assert holds["ELA does not help gan on GAN"] == "yes"
    helped = pd.DataFrame([row(accuracy=0.6), row("gan+ela", accuracy=0.9)])
    assert findings(helped).set_index("finding")["holds"].iloc[4] == "no"


def test_summary_says_that_toy_images_are_simulated(tmp_path):
    save_results(tmp_path, pd.DataFrame([row(accuracy=0.9)]), {})
    text = summary(tmp_path)
    assert "simulated images" in text
    assert "0.941" in text
    assert "0.900 [0.800, 1.000]" in text
    assert "not run" in text


def test_markdown_sets_study_real_and_toy_side_by_side():
    real = pd.DataFrame([row(accuracy=0.84)])
    toy = pd.DataFrame([row(accuracy=0.97)])
    line = study_table(real, toy).splitlines()[2]
    assert line == (
        "| GAN | accuracy | gan | 0.941 | 0.840 [0.740, 0.940] | 0.970 [0.870, 1.070] |"
    )
    assert np.all([text.count("|") == 7 for text in study_table(real, toy).splitlines()])
