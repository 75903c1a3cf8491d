import re

import nbformat
import pandas as pd
import pytest
from click.testing import CliRunner
from handmade import measured_run

from ddlib.__main__ import main
from ddlib._utils import write_json
from ddlib.study.committed import publish
from ddlib.study.report import NOTEBOOK, committed_table, seed_sentences, to_html


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory, tiny):
    folder = tmp_path_factory.mktemp("report") / "runs" / "simulated"
    measured_run(folder, tiny)
    notebook = nbformat.v4.new_notebook()
    output = nbformat.v4.new_output("stream", text="the finding\n")
    cell = nbformat.v4.new_code_cell("print('secret recipe')", outputs=[output])
    folded = "<details><summary>Answer</summary>\n\nforty-two\n\n</details>"
    notebook.cells = [nbformat.v4.new_markdown_cell(f"# Report\n$a^2$\n\n{folded}"), cell]
    nbformat.write(notebook, folder / "notebooks" / f"{NOTEBOOK}.ipynb")
    return folder


def test_html_shows_findings_without_code_and_loads_nothing(run_folder):
    html = to_html(run_folder).read_text(encoding="utf-8")
    assert "the finding" in html and "secret recipe" not in html
    assert re.search(r"<details><summary>Answer</summary>\s*<p>forty-two</p>\s*</details>", html)
    assert not re.search(r"""(src|href)=["']?(https?:)?//|@import|url\(["']?(https?:)?//""", html)


def test_publish_copies_tables_and_the_figures_that_were_marked(run_folder, tmp_path):
    (run_folder / "tables").mkdir()
    (run_folder / "tables" / "03_gain.csv").write_text("difference\n0.1\n")
    (run_folder / "figures").mkdir()
    for name in ("03_history.png", "04_gallery_of_faces.png"):
        (run_folder / "figures" / name).write_bytes(b"chart")
    write_json(run_folder / "published.json", ["03_history"])
    (run_folder / "notebooks" / "03_sd_augmentation.json").write_text("{}")
    tables = tmp_path / "figures" / "tables"
    tables.mkdir(parents=True)
    others = {tables / "simulated_04_of_another_run.csv", tables / "large_03_gain.csv"}
    for old in (tables / "simulated_03_gone.csv", tables.parent / "03_simulated_gone.png", *others):
        old.write_text("published before")
    written = set(publish(run_folder, tmp_path / "figures", "simulated"))
    names = "results_simulated.csv results_simulated.json pictures_simulated.csv "
    names += "scores_simulated.npz simulated_03_gain.csv simulated_notebooks.json"
    chart = tables.parent / "03_simulated_history.png"
    assert written == {chart, *(tables / name for name in names.split())}
    assert set((tmp_path / "figures").rglob("*.*")) == written | others


def test_the_command_prints_the_summary_and_says_what_is_missing(run_folder, tmp_path):
    done = CliRunner().invoke(main, ["report", "--runs", str(run_folder.parent)])
    assert done.exit_code == 0
    assert "the study's numbers beside ours" in done.output
    assert done.output.endswith(f"wrote {run_folder / 'report.html'}\n")
    missing = CliRunner().invoke(main, ["report", "--runs", str(tmp_path / "none")])
    assert missing.exit_code == 1
    assert "run notebooks 02 and 03" in missing.output


def test_a_table_of_the_committed_run_is_read_and_one_that_is_not_there_has_no_rows():
    gain = committed_table("03_gain")
    assert {"protocol", "test set", "difference", "p_value"} <= set(gain) and len(gain)
    assert not len(committed_table("99_nothing"))


def test_a_sentence_of_seeds_holds_the_verdict_and_in_how_many_it_held():
    row = {"plan": "seeds", "a": "clean gan+sd", "b": "clean gan", "test_set": "sd21"}
    row |= {"measure": "recall_fake", "seeds": 3, "a_better_in": 2, "difference": 0.5}
    row |= {"low": 0.4, "high": 0.6, "verdict": "higher"}
    (sentence,) = seed_sentences(pd.DataFrame([row])).splitlines()
    assert (
        "`clean gan+sd` against `clean gan`: **higher**, difference +0.500 [+0.400, +0.600]"
        in sentence
    )
    assert "Stable Diffusion 2.1" in sentence and "ahead in 2 of 3 seeds (all images" in sentence
