"""Results are printed from data: a number typed into prose is a definition or the study's own."""

import re
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from ddlib.study.reference import reference_table

ROOT = Path(__file__).resolve().parents[1]
NUMBER = re.compile(r"(?<![\w.])\d+(?: to \d+)? ?%|(?<![\w.])\d+\.\d{2,}(?![\w.]*\d)")
# what is generated, code, and what a student works out
GENERATED = r"<!-- begin table -->.*?<!-- end table -->|```.*?```|`[^`]*`|<details>.*?</details>"
TASKS = r"\*\*(?:Exercise|Predict).*?(?=\n\n|\Z)|## (?:What it needs|Check yourself).*?(?=\n## |\Z)"
STUDY = {f"{value:.{digits}f}" for value in reference_table()["study"] for digits in (2, 3, 4)}
ALLOWED = {
    "README.md": {
        "95 %": "the confidence of every interval",
        "3.11": "a version of Python",
        "3.13": "a version of Python",
        "0.25": "a width of the network",
        "0.55": "the AUC from which a network has learned",
        "1.000": "in figures/tables/large_01_blind_null.csv, tested below",
    },
    "notebooks": {
        "95 %": "the confidence of every interval",
        "95 to 99 %": "the confidence of an interval of a row that was picked among many",
        "100 %": "all of them",
        "1 %": "a rule for false alarms; the goal for flips",
        "5 %": "a rule for false alarms",
        "0.01": "the goal for the loss of AUC",
        "1.96": "the quantile behind an interval of 95 %",
        "12.71": "Student's quantile for two runs",
        "4.30": "Student's quantile for three runs",
        "2.78": "Student's quantile for five runs",
        "0.55": "the AUC from which a network has learned",
        "0.75": "a width of the network",
        "0.99": "the momentum of Keras's batch normalisation",
        "0.69": "ln 2",
        "0.693": "ln 2",
        "0.001": "the learning rate that ran in the study",
        "0.9008": "the study's recall of reals",
        "90 %": "the same, rounded",
    },
}
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def typed(text):
    """Return the numbers of two decimals or more, or per cent, that stand in prose."""
    for part in (GENERATED, TASKS):
        text = re.sub(part, "", text, flags=re.DOTALL)
    return NUMBER.findall(text)


def prose(path):
    if path.suffix == ".md":
        return path.read_text(encoding="utf-8")
    cells = nbformat.read(path, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def test_typed_numbers_are_found():
    text = "Accuracy rose to 0.943, or 94 %. `0.11` is code, version 0.2.0 none."
    assert typed(f"{text}\n\n**Predict:** 0.33?") == ["0.943", "94 %"]
    assert typed("<!-- begin table -->\n0.50\n<!-- end table --> of 12 to 14 %") == ["12 to 14 %"]


@pytest.mark.parametrize("path", [ROOT / "README.md", *NOTEBOOKS], ids=lambda path: path.stem)
def test_no_result_is_typed_by_hand(path):
    allowed = ALLOWED["README.md" if path.suffix == ".md" else "notebooks"]
    extra = [number for number in typed(prose(path)) if number not in allowed.keys() | STUDY]
    assert not extra, f"{path.name} types {extra}: print it from data, or say in ALLOWED what it is"


def test_the_readme_quotes_the_blind_null_that_is_committed():
    nulls = pd.read_csv(ROOT / "figures" / "tables" / "large_01_blind_null.csv")
    assert f"{nulls.set_index('test_set').loc['sd', 'auc']:.3f}" == "1.000"
