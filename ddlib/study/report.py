"""The report: our results beside the study's, as text, as one HTML file, in the README."""

from pathlib import Path

import pandas as pd

from ddlib._utils import atomic_write
from ddlib.metrics.format import display_name, format_table, to_markdown, with_interval
from ddlib.metrics.intervals import difference
from ddlib.models.provenance import repository_path
from ddlib.study import reference
from ddlib.study.results import COLUMNS, is_simulated, load_results

NOTEBOOK = "07_reproduction_report"
PLAN_SIZES = {"seeds": "all images, width 1.0", "small-seeds": "1,600 images, width 0.75"}
REAL = "large"  # the name under which results on real images are committed
LEARNED_RULE = (
    "did not learn: the 95 % interval of the AUC on validation images reaches "
    f"{reference.LEARNED_FROM}"
)
SIMULATED_RULE = "same shape: the study's number and ours are both high, or both low"
REAL_RULE = (
    "a finding is held: our 95 % interval lies within its bound\n"
    f"a number is held: the study's lies in our 95 % interval widened by {reference.TOLERANCE:.2f}"
)
# finding, condition, test set, measure, "at least" or "at most", bound
_LEVELS = [
    ("GAN training tells GAN faces apart", "gan", "gan", "accuracy", "at least", 0.80),
    ("GAN training misses SD faces", "gan", "sd", "recall_fake", "at most", 0.25),
    ("adding SD finds SD faces", "gan+sd", "sd", "recall_fake", "at least", 0.90),
    ("adding SD still tells GAN faces apart", "gan+sd", "gan", "accuracy", "at least", 0.75),
]


def summary(folder: Path) -> str:
    """Return what a run, ``runs/<tier>``, found: the findings, then the study's numbers.

    Beside results on simulated images stand the committed ones on real images, if there are any.
    """
    results = load_results(folder)
    tier = results["tier"].iloc[0]
    simulated = is_simulated(tier)
    note = " (simulated images: they check the method and are no result)" if simulated else ""
    parts = [f"Tier {tier}{note}"]
    for protocol in sorted(results["protocol"].unique()):
        ours = results[results["protocol"] == protocol]
        parts += [f"\nProtocol {protocol}: the study's findings", format_table(findings(ours))]
        table = reference.compare_with_study(ours)
        words, real = _in_words(table), committed_results()
        real = real[real["protocol"] == protocol]
        if simulated and len(real):
            words["real images (committed)"] = _in_words(reference.compare_with_study(real))["ours"]
        words = words[table["verdict"] != "not run"]
        parts += [f"\nProtocol {protocol}: the study's numbers beside ours", format_table(words)]
    return "\n".join([*parts, f"\n{SIMULATED_RULE if simulated else REAL_RULE}", LEARNED_RULE])


def findings(results: pd.DataFrame) -> pd.DataFrame:
    """Return the study's findings beside our numbers: finding, bound, ours, verdict.

    A finding is a level or, of ELA, a gain in accuracy on the condition's own test set, put as a
    bound. On real images it is "held" or "not held" if our whole 95 % interval lies on one side of
    the bound, else "cannot be told". On simulated images our value alone decides between "same
    shape" and "other shape". A network that did not learn gets "did not learn".

    Parameters
    ----------
    results : DataFrame
        Rows of one tier and one protocol, columns as in ``runs/<tier>/results.csv``.
    """
    cells = {(row["condition"], row["test_set"]): row for row in results.to_dict("records")}
    rows = []
    for finding, condition, test_set, measure, side, bound in _LEVELS:
        mine = cells.get((condition, test_set))
        ours = mine and tuple(mine[f"{measure}{end}"] for end in ("", "_low", "_high"))
        row = {"finding": finding, "bound": f"{display_name(measure)} {side} {bound:.2f}"}
        rows.append(row | _judge(ours, side, bound, [mine]))
    for plain, test_set in (("gan", "gan"), ("gan+sd", "sd")):
        pair = [cells.get((condition, test_set)) for condition in (f"{plain}+ela", plain)]
        gain = difference(*_right(pair[0]), *_right(pair[1])) if all(pair) else None
        whom = display_name(plain, "condition")
        finding = f"ELA does not help {whom} on {display_name(test_set)}"
        row = {"finding": finding, "bound": f"gain in accuracy at most {reference.TOLERANCE:.2f}"}
        rows.append(row | _judge(gain, "at most", reference.TOLERANCE, pair))
    return pd.DataFrame(rows)


def study_table(real: pd.DataFrame, simulated: pd.DataFrame, seeds: pd.DataFrame) -> str:
    """Return the study's numbers beside ours under "clean", on both kinds of images, as Markdown.

    Of a network that did not learn stands just that. What was not run on real images is left out.
    From `seeds`, the rows of ``seed_<name>.csv``, come the mean over the runs on real images and
    the 95 % interval in which one more run would fall.
    """
    real = reference.compare_with_study(real[real["protocol"] == "clean"])
    simulated = reference.compare_with_study(simulated[simulated["protocol"] == "clean"])
    words = _in_words(real)
    parts = [words[["test set", "measure", "condition", "study"]], _ours(words, "real images")]
    if len(seeds):
        parts.append(_new_runs(real, seeds[seeds["protocol"] == "clean"]))
    parts.append(_ours(_in_words(simulated), "simulated images"))
    return to_markdown(pd.concat(parts, axis=1)[real["verdict"] != "not run"])


def _ours(words: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return our numbers of a comparison in words, and their n."""
    ours = words["ours"].mask(words["verdict"] == "did not learn", words["verdict"])
    return pd.DataFrame({f"ours, {where}": ours.replace("", "not run"), "n": words["n"]})


def _new_runs(compared: pd.DataFrame, seeds: pd.DataFrame) -> pd.Series:
    """Return for each row the mean over seeds, where a new run would fall, and of how many seeds.

    Empty where fewer than two runs are finished or the network did not learn.
    """
    keys = ["our_set", "condition", "measure"]
    found = seeds[seeds["plan"] == "seeds"].rename(columns={"test_set": "our_set"})
    found = found[[*keys, "seeds", "mean", "new_run_low", "new_run_high"]]
    own = compared.merge(found, "left", keys)
    texts = [
        f"{with_interval(row.mean, row.new_run_low, row.new_run_high)}, {row.seeds:.0f} seeds"
        for row in own.itertuples()
    ]
    known = own["seeds"].notna() & (own["verdict"] != "did not learn")
    return pd.Series(texts, name="a new run").where(known, "")


def to_html(folder: Path) -> Path:
    """Write the executed notebook 07 as one HTML file that loads nothing from elsewhere."""
    from nbconvert import HTMLExporter

    notebook = Path(folder) / "notebooks" / f"{NOTEBOOK}.ipynb"
    if not notebook.is_file():
        raise FileNotFoundError(f"{notebook} is missing; run `ddlib run 07` on this tier first")
    exporter = HTMLExporter(
        exclude_input=True,
        exclude_input_prompt=True,
        mathjax_url="",
        require_js_url="",
        jquery_url="",
        widget_renderer_url="",
        mermaid_js_url="",
        mermaid_layout_elk_js_url="",
    )
    body, _ = exporter.from_filename(str(notebook))
    target = Path(folder) / "report.html"
    with atomic_write(target) as unfinished:
        unfinished.write_text(body, encoding="utf-8")
    return target


def committed_results() -> pd.DataFrame:
    """Return the committed results on real images, columns as in ``results.csv``; maybe no rows."""
    return _committed_csv(f"results_{REAL}", COLUMNS)


def committed_table(name: str) -> pd.DataFrame:
    """Return a notebook's table, such as "03_gain", of the committed run on real images.

    No rows where the table is not there.
    """
    return _committed_csv(f"{REAL}_{name}")


def committed_seed_differences() -> pd.DataFrame:
    """Return in how many seeds one way to train was better than another; maybe no rows."""
    return _committed_csv(f"seed_differences_{REAL}", ["plan", "a", "b", "verdict"])


def seed_sentences(pairs: pd.DataFrame) -> str:
    """Return rows of `committed_seed_differences` as a list of sentences in Markdown."""
    lines = []
    for row in pairs.itertuples():
        what = f"{display_name(row.test_set)}, {display_name(row.measure)}"
        change = f"{row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
        lines.append(
            f"- {what}: `{row.a}` against `{row.b}`: **{row.verdict}**, difference {change}; "
            f"ahead in {row.a_better_in} of {row.seeds} seeds ({PLAN_SIZES[row.plan]})."
        )
    return "\n".join(lines)


def _committed_csv(name: str, columns=()) -> pd.DataFrame:
    """Return a table of ``figures/tables``, without rows where it is not there."""
    file = repository_path(f"figures/tables/{name}.csv")
    return pd.read_csv(file) if file.is_file() else pd.DataFrame(columns=list(columns))


def update_readme(readme: Path, figures: Path) -> Path:
    """Write the README's table anew from the committed results, between its two marks."""
    with atomic_write(Path(readme)) as unfinished:
        unfinished.write_text(readme_with_table(readme, figures), encoding="utf-8")
    return Path(readme)


def readme_with_table(readme: Path, figures: Path) -> str:
    """Return the text of the README with the table of the committed results."""
    begin, end = "<!-- begin table -->\n", "<!-- end table -->"
    text = Path(readme).read_text(encoding="utf-8")
    if begin not in text or end not in text:
        raise ValueError(f"{readme} lacks the lines {begin.strip()!r} and {end!r}")
    tables = Path(figures) / "tables"
    seeds = tables / f"seed_{REAL}.csv"
    table = study_table(
        pd.read_csv(tables / f"results_{REAL}.csv"),
        pd.read_csv(tables / "results_simulated.csv"),
        pd.read_csv(seeds) if seeds.is_file() else pd.DataFrame(),
    )
    return f"{text.split(begin)[0]}{begin}\n{table}\n\n{end}{text.split(end)[1]}"


def _judge(ours: tuple | None, side: str, bound: float, rows: list) -> dict:
    """Return our number as text and the verdict on a finding."""
    if ours is None:
        return {"ours": "", "verdict": "not run"}
    text = with_interval(*ours)
    value, *ends = (x - bound if side == "at least" else bound - x for x in ours)
    if not all(reference.has_learned(row) for row in rows):
        verdict = "did not learn"
    elif is_simulated(rows[0]["tier"]):
        verdict = "same shape" if value >= 0 else "other shape"
    else:
        verdict = "held" if min(ends) >= 0 else "not held" if max(ends) < 0 else "cannot be told"
    return {"ours": text, "verdict": verdict}


def _right(row: dict) -> tuple[int, int]:
    """Return how many images were called right, and of how many."""
    n = int(row["n_real"] + row["n_fake"])
    return round(row["accuracy"] * n), n


def _in_words(table: pd.DataFrame) -> pd.DataFrame:
    """Return a comparison as text, names in words; simulated stand-ins in brackets."""
    rows = []
    for row in table.to_dict("records"):
        name, ran = display_name(row["test_set"]), row["verdict"] != "not run"
        if row["our_set"] in reference.STANDS_FOR:
            name += f" ({display_name(row['our_set'])})"
        words = {
            "test set": name,
            "measure": display_name(row["measure"]),
            "condition": display_name(row["condition"], "condition"),
            "study": f"{row['study']:.3f}",
            "ours": with_interval(row["ours"], row["low"], row["high"]) if ran else "",
            "n": f"{row['n']:.0f}" if ran else "",
            "verdict": row["verdict"],
        }
        rows.append(words)
    return pd.DataFrame(rows)
