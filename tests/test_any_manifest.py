"""A folder with any manifest.csv: each row is an image or excluded with a reason, or it is refused.

What must come out is worked out here row by row, without the code under test.
"""

import csv
import io
import posixpath

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from ddlib.__main__ import main
from ddlib._utils import printable
from ddlib.data.manifest import ManifestError
from ddlib.data.sources import SourceError, open_folder

SOUND = ("a.png", "b.png", "c d.png", "ü/x,y.png", "real/e.png", "fake/f.png")
COPY = {"copy.png": "a.png"}  # the same bytes
BROKEN = ("cut.png", "text.jpg")
ABSENT = ("gone.png", "two\nlines.png", '"quoted".png', "=1+1.png")
OUTSIDE = ("../a.png", "/a.png", "C:/a.png", "..\\a.png", "C:" + "\\a.png", "real/../../a.png", " ")
OUTSIDE += ("", "a\0.png")
SPELLINGS = {
    "plain": lambda path: path,
    "dot": lambda path: f"./{path}",
    "double": lambda path: path.replace("/", "//"),
    "windows": lambda path: path.replace("/", "\\"),
    "windows dot": lambda path: ".\\" + path.replace("/", "\\"),
    "capitals": str.upper,
}
LABELS = {"real": "real", " REAL ": "real", "fake": "fake", "Fake": "fake"}
SPLITS = {"train": "train", "Training": "train", "VAL": "valid", " valid ": "valid"}
SPLITS |= {"Validation": "valid", "test": "test", "TESTING": "test", "": None, "  ": None}
SHARES = {"": True, "1": True, "0.75": True, "0": False, "-3": False, "much": False}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("any") / "images", np.random.default_rng(0)
    for name in SOUND:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(root / name)
    for name, original in COPY.items():
        (root / name).write_bytes((root / original).read_bytes())
    (root / "cut.png").write_bytes((root / "a.png").read_bytes()[:900])
    (root / "text.jpg").write_text("text")
    (root.parent / "cache").mkdir()
    return root


@st.composite
def tables(draw):
    """Columns, rows of text, and an encoding; most rows are good, so that whole tables are too."""

    def often(good, bad):
        return st.sampled_from([*good] * (8 * len(bad)) + [*bad] * len(good) if bad else [*good])

    tame = draw(st.booleans())  # each file once, and nothing wrong
    files = [*SOUND, *COPY, *BROKEN, *ABSENT]
    files = files if tame else draw(st.lists(st.sampled_from(files), min_size=2, max_size=6))
    names = st.lists(st.sampled_from(files), max_size=9, unique=tame)
    optional = draw(st.sets(st.sampled_from(["identity", "crop_share", "sha256", "notes"])))
    needed = ["path", "label", "source", "split"]
    if not tame and draw(st.integers(0, 9)) == 0:
        needed.remove(draw(st.sampled_from(needed)))
    columns = draw(st.permutations([*needed, *sorted(optional)]))
    rows = []
    for name in draw(names):
        spelling = draw(st.sampled_from(list(SPELLINGS)))
        path = draw(often([SPELLINGS[spelling](name)], [] if tame else OUTSIDE))
        label = "fake" if name.startswith("fake") else "real"
        row = {
            "path": path,
            "label": draw(often(["real" if tame else label], [] if tame else [*LABELS, "", "gan"])),
            "source": draw(st.sampled_from(["", "ann", " bob "])),
            "split": draw(often(["train"] if tame else SPLITS, [] if tame else ["dev", "nan"])),
            "identity": draw(st.sampled_from(["", "", "00012", "Ann"])),
            "crop_share": draw(often(["", "1", "0.75"], [] if tame else SHARES)),
            "sha256": draw(often([""], ["0" * 64])),
            "notes": draw(st.sampled_from(["", "a, b", "two\r\nlines", '"', "=1+1"])),
        }
        rows.append({column: row[column] for column in columns})
    return columns, rows, draw(often(["utf-8", "utf-8-sig"], [] if tame else ["utf-16", "cp1252"]))


def write(columns, rows, encoding, path):
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(text.getvalue().encode(encoding))


def place(path):
    """Return a path as the file system of the strictest machine tells files apart."""
    return posixpath.normpath(path.replace("\\", "/")).casefold()


def wrong(row):
    """Return whether a row alone is reason to refuse the table."""
    return (
        row["path"] in OUTSIDE
        or row["label"] not in LABELS
        or row["split"] not in SPLITS
        or not SHARES[row.get("crop_share", "")]
    )


MEANING = {"label": LABELS.get, "split": SPLITS.get, "source": str.strip, "identity": str}
MEANING |= {"crop_share": lambda share: share and float(share), "sha256": str}


def contradictions(rows, key, columns):
    """Return the rows of which another with the same key says something else; blanks do not."""
    found = []
    for row in rows:
        same = [other for other in rows if key(other["path"]) == key(row["path"])]
        for column in columns:
            said = {MEANING[column](other.get(column, "")) for other in same} - {None, ""}
            if len(said) > 1 and row not in found:
                found.append(row)
    return found


def content(path):
    return COPY.get(place(path), place(path))


@given(tables())
@settings(
    max_examples=80,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],  # shrinking takes minutes
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_each_row_is_an_image_or_excluded_or_the_table_is_refused(folder, monkeypatch, table):
    columns, rows, encoding = table
    monkeypatch.setenv("DDLIB_CACHE", str(folder.parent / "cache"))
    try:
        write(columns, rows, encoding, folder / "manifest.csv")
    except UnicodeEncodeError:
        return
    readable = encoding.startswith("utf-8") or (
        encoding == "cp1252" and "ü" not in "".join(row.get("path", "") for row in rows).lower()
    )
    lacking = [name for name in ("path", "label", "source", "split") if name not in columns]
    bad = [] if lacking else [row for row in rows if wrong(row)]
    twice = [] if lacking or bad else contradictions(rows, place, MEANING)
    copies = [] if lacking or bad else contradictions(rows, content, ["label", "split"])
    try:
        manifest = open_folder(folder)
    except (ManifestError, SourceError) as error:
        told = CliRunner().invoke(main, ["data", "check", str(folder)])
        assert told.exit_code == 1 and "Traceback" not in told.output
        if not readable:
            assert "manifest.csv: not readable as CSV" in str(error)
        elif lacking:
            assert f"has no column {lacking[0]}" in str(error)
        elif not rows:
            assert "no images" in str(error)
        else:
            names = [row["path"] for row in bad or twice or copies or rows]
            names += [name.replace("\\", "/").removeprefix("./") for name in names] + [*SOUND]
            assert any(printable(name.strip(' "')) in str(error) for name in names)
            assert bad or twice or copies or "none of" in str(error), error
        return
    assert readable and not lacking and not bad and not twice
    # people in several splits, files of other content and near-copies may leave one of two copies
    assert not copies or {"identity", "sha256"} & set(columns) or len(manifest.excluded)
    kept = manifest.table.set_index("path")
    left = manifest.excluded
    assert kept.index.is_unique and left["reason"].str.len().all() and left["kind"].notna().all()
    listed = {place(row["path"]) for row in rows}
    on_disk = {*SOUND, *COPY, *BROKEN}
    not_listed = left["path"][left["kind"] == "not listed"]
    assert len(kept) + len(left) == len(rows) + len(not_listed)
    assert set(not_listed) == on_disk - {*kept.index, *left["path"].drop(not_listed.index)}
    assert {place(path) for path in (*kept.index, *left["path"])} == listed | {*map(place, on_disk)}
    for path, image in kept.iterrows():
        same = [row for row in rows if place(row["path"]) == place(path)]
        assert place(path) in {place(name) for name in (*SOUND, *COPY)}
        assert image["label"] == LABELS[same[0]["label"]]
        stated = [SPLITS[row["split"]] for row in same if SPLITS[row["split"]]]
        assert image["split"] in (stated or ("train", "valid", "test"))
        sources = [row["source"].strip() for row in same if row["source"].strip()]
        assert image["source"] in (sources or [image["label"]])
    assert len(manifest.labels) == len(manifest) == manifest.table["sha256"].nunique()
