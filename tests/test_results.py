import pandas as pd
import pytest

from ddlib._utils import read_json
from ddlib.study.reference import MIN_IMAGES, TOLERANCE, compare_with_study, reference_table
from ddlib.study.report import findings, study_table, summary
from ddlib.study.results import COLUMNS, load_results, save_results


def row(condition="gan", test_set="gan", protocol="clean", tier="faces", **values):
    """Return a row of results.csv; intervals reach 0.1 to both sides."""
    base = dict.fromkeys(COLUMNS) | {"tier": tier, "protocol": protocol, "condition": condition}
    base |= {"test_set": test_set, "n_real": 100, "n_fake": 100, "valid_auc_low": 0.9}
    base |= {"result_id": f"{protocol}-{condition}-{test_set}"}
    for measure in ("accuracy", "recall_fake"):
        value = values.get(measure, 0.5)
        base |= {measure: value, f"{measure}_low": value - 0.1, f"{measure}_high": value + 0.1}
    return base | values


def test_the_study_s_own_tables_are_complete():
    table = reference_table()
    assert table["table"].value_counts().to_dict() == {"Table 2": 12, "Table 1": 8, "Elsewhere": 2}
    cell = table.set_index(["test_set", "condition"])["study"]
    assert (cell["gan", "gan"], cell["sd", "gan+sd"]) == (0.941, 0.98)


def test_results_of_other_images_do_not_stay(tmp_path):
    """Two folders of one name share a place, and images may be added to a folder."""
    both = pd.DataFrame([row(), row(test_set="sd")])
    save_results(tmp_path, both, {"data_hash": "a"})
    save_results(tmp_path, pd.DataFrame([row("gan+sd")]), {"data_hash": "a"})
    assert len(load_results(tmp_path)) == 3
    save_results(tmp_path, pd.DataFrame([row()]), {"data_hash": "b"})
    assert load_results(tmp_path)["test_set"].tolist() == ["gan"]
    assert list(read_json(tmp_path / "results.json")) == ["clean-gan-gan"]


@pytest.mark.parametrize(
    ("ours", "expected"),
    [
        ({"accuracy": 0.941}, "held"),
        ({"accuracy": 0.941 - 0.1 - TOLERANCE + 0.001}, "held"),
        ({"accuracy": 0.941 - 0.1 - TOLERANCE - 0.001}, "not held"),
        ({"accuracy": 0.941, "n_real": MIN_IMAGES - 1}, "cannot be told"),
        ({"accuracy": 0.941, "valid_auc_low": 0.5}, "did not learn"),
        ({"accuracy": 0.80, "tier": "simulated"}, "same shape"),
        ({"accuracy": 0.60, "tier": "simulated-small"}, "other shape"),
        ({"accuracy": 0.60, "tier": "simulated", "valid_auc_low": 0.41}, "did not learn"),
        ({"accuracy": float("nan")}, "not run"),
    ],
)
def test_the_verdict_on_a_number_follows_the_stated_rule(ours, expected):
    table = compare_with_study(pd.DataFrame([row(**ours)]))
    assert table.set_index(["test_set", "condition"]).loc[("gan", "gan"), "verdict"] == expected


def test_simulated_generators_stand_for_the_study_s_sets_and_others_were_not_run():
    mine = row(test_set="sim-sd768", tier="simulated", recall_fake=0.02, n_real=0)
    table = compare_with_study(pd.DataFrame([mine]))
    told = table[table["verdict"] != "not run"]
    assert told[["test_set", "condition", "n", "verdict"]].values.tolist() == [
        ["sd21", "gan", 100, "same shape"]
    ]


def test_new_results_replace_older_ones_of_the_same_cell_only(tmp_path):
    save_results(tmp_path, pd.DataFrame([row(), row("gan+sd")]), {"seconds": 1})
    again = pd.DataFrame([row(accuracy=0.9, result_id="new")])
    save_results(tmp_path, again, {"seconds": 2})
    table = load_results(tmp_path).set_index("result_id")
    assert sorted(table.index) == ["clean-gan+sd-gan", "new"]
    assert table.loc["new", "accuracy"] == 0.9
    facts = read_json(tmp_path / "results.json")
    assert facts == {"new": {"seconds": 2}, "clean-gan+sd-gan": {"seconds": 1}}


def test_the_table_has_one_order_whichever_model_was_measured_first(tmp_path):
    for protocol, condition in (("clean", "gan+sd"), ("paper", "gan+ela"), ("clean", "gan")):
        sets = [row(condition, test_set, protocol) for test_set in ("sd", "gan")]
        save_results(tmp_path, pd.DataFrame(sets), {})
    kept = load_results(tmp_path)
    models = ["paper-gan+ela", "clean-gan", "clean-gan+sd"]
    expected = [f"{model}-{test_set}" for model in models for test_set in ("sd", "gan")]
    assert kept["result_id"].tolist() == expected


def test_without_results_the_error_says_what_to_run(tmp_path):
    with pytest.raises(FileNotFoundError, match="run notebooks 02 and 03"):
        load_results(tmp_path)


def test_a_finding_needs_the_whole_interval_on_one_side_of_its_bound():
    rows = [
        row("gan", "gan", accuracy=0.9),  # 0.8 to 1.0, at least 0.80
        row("gan", "sd", recall_fake=0.3),  # 0.2 to 0.4, at most 0.25
        row("gan+sd", "sd", recall_fake=0.5),  # 0.4 to 0.6, at least 0.90
        row("gan+ela", "gan", accuracy=0.7),
    ]
    found = findings(pd.DataFrame(rows)).set_index("finding")["verdict"]
    assert found["GAN training tells GAN faces apart"] == "held"
    assert found["GAN training misses SD faces"] == "cannot be told"
    assert found["adding SD finds SD faces"] == "not held"
    assert found["adding SD still tells GAN faces apart"] == "not run"
    assert found["ELA does not help GAN on GAN faces"] == "held"
    rows = [row("gan", "gan", accuracy=0.6), row("gan+ela", "gan", accuracy=0.9)]
    assert findings(pd.DataFrame(rows)).set_index("finding")["verdict"].iloc[4] == "not held"


def test_on_simulated_images_a_finding_has_a_shape_and_is_never_held():
    rows = [row(accuracy=0.79, tier="simulated"), row("gan", "sd", tier="simulated")]
    rows += [row("gan+sd", "sd", recall_fake=0.95, tier="simulated", valid_auc_low=0.4)]
    found = findings(pd.DataFrame(rows))["verdict"].tolist()
    assert found[:3] == ["other shape", "other shape", "did not learn"]


def test_the_summary_says_which_images_are_simulated_and_shows_the_real_results(tmp_path):
    save_results(tmp_path, pd.DataFrame([row(accuracy=0.9, tier="simulated")]), {})
    text = summary(tmp_path)
    assert "simulated images: they check the method" in text
    assert "0.941 0.900 [0.800, 1.000]" in text
    assert "real images (committed)" in text
    assert "held" not in text


def test_markdown_sets_study_real_and_simulated_side_by_side():
    none = pd.DataFrame()
    real, simulated = pd.DataFrame([row(accuracy=0.84)]), pd.DataFrame([row(accuracy=0.97)])
    lines = study_table(real, simulated, none).splitlines()
    numbers = "0.941 | 0.840 [0.740, 0.940] | 200 | 0.970 [0.870, 1.070] | 200"
    assert lines[2] == f"| GAN faces | accuracy | GAN | {numbers} |"
    assert len(lines) == 3, "what was not run on real images is left out"
    unlearned = study_table(real, pd.DataFrame([row(valid_auc_low=0.49)]), none)
    assert unlearned.splitlines()[2].endswith("[0.740, 0.940] | 200 | did not learn | 200 |")


def test_markdown_gives_the_runs_of_other_seeds_where_there_are_any():
    seeds = {"plan": "seeds", "protocol": "clean", "condition": "gan", "test_set": "gan"}
    seeds |= {"measure": "accuracy", "seeds": 3, "mean": 0.93}
    seeds |= {"new_run_low": 0.91, "new_run_high": 0.95}
    results = pd.DataFrame([row(), row("gan+sd", "gan")])
    lines = study_table(results, results, pd.DataFrame([seeds])).splitlines()
    assert "| 200 | 0.930 [0.910, 0.950], 3 seeds | 0.500" in lines[2]
    assert "| 200 |  | 0.500" in lines[3], "GAN + SD was trained once"
