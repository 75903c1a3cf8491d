"""What is published is computed from the committed scores; a changed score is noticed."""

import shutil

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from handmade import measured_run

from ddlib.__main__ import main
from ddlib.study.committed import publish
from ddlib.study.report import REAL, update_readme

NAME = "simulated"


@pytest.fixture(scope="module")
def published(tiny, tmp_path_factory):
    """A folder with README.md and figures/ as they are committed."""
    root = tmp_path_factory.mktemp("published")
    run = measured_run(root / "runs" / NAME, tiny)
    publish(run, root / "figures", NAME)
    tables = root / "figures" / "tables"
    shutil.copy(tables / f"results_{NAME}.csv", tables / f"results_{REAL}.csv")
    (root / "README.md").write_text("<!-- begin table -->\n<!-- end table -->\n")
    update_readme(root / "README.md", root / "figures")
    return root


@pytest.fixture
def copy(published, tmp_path):
    shutil.copytree(published, tmp_path / "copy")
    return tmp_path / "copy"


def verify(root):
    done = CliRunner().invoke(main, ["report", "--verify", "--figures", str(root / "figures")])
    return done.exit_code, done.output.splitlines()


def test_the_results_are_rebuilt_from_scores_and_pictures_without_names(published):
    assert verify(published)[0] == 0
    text = (published / "figures" / "tables" / f"pictures_{NAME}.csv").read_text()
    assert "ffhq" in text and "-0.jpg" not in text


def test_a_changed_score_names_the_numbers_that_rest_on_it_and_no_others(copy):
    tables = copy / "figures" / "tables"
    with np.load(tables / f"scores_{NAME}.npz") as file:
        logits = dict(file)
    pictures = pd.read_csv(tables / f"pictures_{NAME}.csv")
    row = pictures.index[(pictures["source"] == "stylegan") & (pictures["split"] == "test")][0]
    logits["clean-gan+sd"][row] = -9  # no drawn logit lies so low
    np.savez_compressed(tables / f"scores_{NAME}.npz", **logits)
    status, (*lines, not_rebuilt) = verify(copy)
    assert status == 1 and not_rebuilt.startswith("not rebuilt, no scores: ")
    results = pd.read_csv(tables / f"results_{NAME}.csv")
    (place,) = results.index[(results["condition"] == "gan+sd") & (results["test_set"] == "gan")]
    start = f"results_{NAME}.csv, line {place + 2}: "
    assert any(line.startswith(f"{start}recall_fake is") for line in lines)
    assert all(line.startswith(start) for line in lines)


def test_what_was_edited_in_the_results_and_in_the_readme_is_named(copy):
    path = copy / "figures" / "tables" / f"results_{NAME}.csv"
    table = pd.read_csv(path)
    table.loc[0, "accuracy"] += 0.01
    table.to_csv(path, index=False)
    text = (copy / "README.md").read_text()
    (copy / "README.md").write_text(text.replace("0.941", "0.951"))
    status, (number, readme, _) = verify(copy)
    assert status == 1 and number.startswith(f"results_{NAME}.csv, line 2: accuracy is")
    assert "README.md: the table is not that of the committed results" in readme
    table[1:].to_csv(path, index=False)
    assert f"has {len(table) - 1} rows, the scores give {len(table)}" in verify(copy)[1][0]
