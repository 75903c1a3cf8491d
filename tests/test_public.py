"""The tiers sample and large: fetched from servers and repositories that the tests make."""

import hashlib
import os
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from ddlib.__main__ import main
from ddlib.data import download, public
from ddlib.data.public import MOST_FAILURES, TIERS, fetch_tier, missing, read_list, terms
from ddlib.data.sources import SourceError, load_sources, open_folder
from ddlib.study.study import find_data

N_FILES = 7
FIGURE = "figures/a figure, 100%.png"
SHIPPED = read_list


@pytest.fixture(scope="module")
def upstream(tmp_path_factory):
    """Two repositories and the list of their pictures: seven files and two cut-outs of a figure."""
    root, rng = tmp_path_factory.mktemp("upstream"), np.random.default_rng(0)

    def noise(path, size):
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        return pixels

    rows = []
    for i in range(N_FILES):
        label, source = ("real", "ffhq") if i % 2 else ("fake", "stylegan")
        split = ("train", "valid", "test")[i // 2 % 3]
        file = f"data/{label} (x)/ü {i}.png"
        noise(root / "ann+faces" / file, 24)
        data = (root / "ann+faces" / file).read_bytes()
        path = f"140k/real-vs-fake/{split}/{label}/{i}.png"
        row = {"path": path, "label": label, "source": source, "split": split, "set": "140k"}
        row |= {"repository": "ann/faces", "file": file, "box": "", "sample": int(i < 4)}
        rows.append(row | {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    figure = noise(root / "bob+art" / FIGURE, 64)
    for left, top in ((0, 8), (30, 20)):
        cut = figure[top : top + 20, left : left + 25]
        row = {"path": f"flux1-dev/test/{left}.png", "label": "fake", "source": "flux1-dev"}
        row |= {"split": "test", "set": "flux1", "repository": "bob/art", "file": FIGURE}
        row |= {"box": f"{left} {top} 25 20", "bytes": 1500, "sample": 0}
        rows.append(row | {"sha256": hashlib.sha256(cut.tobytes()).hexdigest()})
    (root / "bob+art" / "unlisted.txt").write_text("unlisted")
    table = pd.DataFrame(rows)
    commits = {name: commit_all(root / name.replace("/", "+")) for name in set(table["repository"])}
    return root, table.assign(commit=table["repository"].map(commits))


def git(folder, *words):
    done = subprocess.run(["git", "-C", folder, *words], check=True, capture_output=True, text=True)
    return done.stdout


def commit_all(folder):
    git(folder, "init", "--quiet")
    git(folder, "add", ".")
    git(folder, "-c", "user.name=n", "-c", "user.email=e@x", "commit", "--quiet", "-m", "x")
    return git(folder, "rev-parse", "HEAD").strip()


@pytest.fixture
def listed(upstream, monkeypatch):
    """Put the list of the test's pictures in place of the shipped one."""
    table = upstream[1].copy()

    def read(tier, without=()):
        chosen = table[~table["set"].isin(list(without))]
        return chosen[(tier == "large") | (chosen["sample"] == 1)].reset_index(drop=True)

    monkeypatch.setattr(public, "read_list", read)
    monkeypatch.setattr("ddlib.cli.data.read_list", read)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    return table


class Handler(BaseHTTPRequestHandler):
    """Serve OWNER/NAME/COMMIT/FILE from the work trees; `trouble` says what else to do, by file."""

    def do_GET(self):  # noqa: N802
        owner, name, _, file = unquote(self.path)[1:].split("/", 3)
        self.server.asked.append(file)
        trouble = self.server.trouble.get(file, self.server.trouble.get("all"))
        trouble = trouble.pop(0) if isinstance(trouble, list) and trouble else trouble or None
        if isinstance(trouble, int):
            self.send_error(trouble)
            return
        data = (self.server.root / f"{owner}+{name}" / file).read_bytes()
        if trouble == "changed":
            data = data[:-20] + bytes([data[-20] ^ 1]) + data[-19:]
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if trouble == "slow":
            self.server.released.wait(20)
        self.wfile.write(data[:100] if trouble == "cut" else data)
        self.close_connection = True

    def log_message(self, *words):
        """Print nothing."""


@pytest.fixture
def server(upstream):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as serving:
        serving.root, serving.asked, serving.trouble = upstream[0], [], {}
        serving.released = threading.Event()
        port = serving.server_address[1]
        serving.mirror = f"http://127.0.0.1:{port}/{{owner}}/{{name}}/{{commit}}/{{file}}"
        threading.Thread(target=serving.serve_forever, args=(0.01,), daemon=True).start()
        yield serving
        serving.released.set()
        serving.shutdown()


@pytest.fixture
def repositories(upstream):
    """The address of the repositories for git."""
    return f"{upstream[0].as_uri()}/{{owner}}+{{name}}"


@pytest.fixture(params=["http", "git"])
def mirror(request):
    """Both ways to the same pictures."""
    if request.param == "http":
        return request.getfixturevalue("server").mirror
    return request.getfixturevalue("repositories")


def content(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*.png")}


def test_every_picture_comes_with_its_listed_content(listed, mirror, tmp_path, monkeypatch):
    monkeypatch.setenv("DDLIB_CACHE", str(tmp_path / "cache"))
    listed["phash"] = "00ff"  # a column that the list may gain
    folder, problems = fetch_tier("large", tmp_path / "data", mirror=mirror)
    assert folder == tmp_path / "data" / "large" and problems == {}
    assert set(content(folder)) == set(listed["path"])
    assert not len(missing(listed, folder))
    manifest = open_folder(folder)
    assert len(manifest) == N_FILES + 2 and not len(manifest.excluded)
    assert manifest.table.set_index("path")["split"].to_dict() == (
        listed.set_index("path")["split"].to_dict()
    )
    assert (pd.read_csv(folder / "manifest.csv")["phash"] == "00ff").all()
    with Image.open(folder / "flux1-dev/test/30.png") as cut:
        assert cut.size == (25, 20)
        row = listed[listed["path"] == "flux1-dev/test/30.png"].iloc[0]
        assert hashlib.sha256(cut.tobytes()).hexdigest() == row["sha256"]
    left = {p.name for p in (tmp_path / "data").iterdir()}
    assert left <= {"large", ".large.lock"}


def test_what_is_there_is_not_asked_for_again(listed, server, tmp_path):
    folder, _ = fetch_tier("large", tmp_path, mirror=server.mirror)
    (folder / "flux1-dev/test/0.png").write_bytes(b"damaged")
    server.asked.clear()
    assert fetch_tier("large", tmp_path, mirror=server.mirror)[1] == {}
    assert server.asked == [FIGURE]
    server.asked.clear()
    before = content(folder)
    fetch_tier("large", tmp_path, mirror=server.mirror)
    assert server.asked == [] and content(folder) == before


@pytest.mark.parametrize(
    ("row", "trouble", "said"),
    [
        (2, 404, "gone: the server says 404"),
        (2, "changed", "changed: the content is not the listed one"),
        (2, "cut", "not reached: no whole answer (ChunkedEncodingError)"),
        (2, 500, "not reached: the server says 500"),
        (2, "slow", "not reached: no whole answer"),
        (N_FILES, "changed", "changed: the content is not the listed one"),  # of two cut-outs
    ],
)
def test_a_file_that_does_not_come_is_named_and_the_rest_usable(
    listed, server, tmp_path, monkeypatch, row, trouble, said
):
    monkeypatch.setenv("DDLIB_CACHE", str(tmp_path / "cache"))
    if trouble == "slow":
        monkeypatch.setattr(download, "TIMEOUT", 2)
        monkeypatch.setattr(download, "RETRIES", 0)
    file = listed["file"][row]
    lost = set(listed["path"][listed["file"] == file])
    server.trouble[file] = trouble
    folder, problems = fetch_tier("large", tmp_path, mirror=server.mirror)
    assert set(problems) == lost
    assert all(problem.startswith(said) for problem in problems.values())
    assert set(content(folder)) == set(listed["path"]) - lost
    manifest = open_folder(folder)
    assert set(manifest.excluded["path"]) == lost and len(manifest) == len(listed) - len(lost)
    server.trouble.clear()
    assert fetch_tier("large", tmp_path, mirror=server.mirror)[1] == {}


def test_a_server_that_stumbles_is_asked_again(listed, server, tmp_path):
    server.trouble = {listed["file"][0]: [503, 429], listed["file"][1]: ["cut"]}
    assert fetch_tier("large", tmp_path, mirror=server.mirror)[1] == {}
    assert server.asked.count(listed["file"][0]) == 3


def test_a_server_that_refuses_everything_is_not_asked_for_ever(upstream, server, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    row = upstream[1].iloc[0]
    server.trouble["all"] = 429
    files = [[row]] * 100
    came = list(public._single_files(server.mirror, files, None))
    assert len(came) == 100 and all("429" in problem for _, _, problem in came)
    most = MOST_FAILURES + public.THREADS  # those that were under way
    assert len(server.asked) <= most * (download.RETRIES + 1)


@pytest.mark.parametrize("git_there", [True, False])
def test_sample_goes_on_with_git_where_single_files_are_refused(
    listed, server, repositories, tmp_path, monkeypatch, git_there
):
    server.trouble["all"] = 429
    monkeypatch.setitem(TIERS, "sample", (server.mirror, repositories))
    if not git_there:
        monkeypatch.setenv("PATH", "")
    folder, problems = fetch_tier("sample", tmp_path)
    if git_there:
        assert problems == {} and len(content(folder)) == 4
    else:
        assert len(problems) == 4
        for problem in problems.values():  # what each way said
            assert "429" in problem and "git is not installed" in problem


def test_a_repository_that_is_gone_or_lost_a_file(listed, upstream, repositories, tmp_path):
    listed.loc[listed["set"] == "flux1", "repository"] = "bob/gone"
    listed.loc[0, "file"] = "data/moved.png"
    problems = fetch_tier("large", tmp_path, mirror=repositories)[1]
    assert problems.pop(listed["path"][0]).startswith("gone: not in its repository at the listed")
    assert set(problems) == {"flux1-dev/test/0.png", "flux1-dev/test/30.png"}
    assert all(problem.startswith("not reached: git fetch") for problem in problems.values())


@pytest.mark.parametrize("form", ["path", "address"])
def test_a_repository_that_allows_no_partial_clones_will_do(upstream, listed, tmp_path, form):
    """By its path it is fetched whole; a file: address is asked for the listed files alone."""
    for name in ("ann+faces", "bob+art"):
        git(upstream[0], "clone", "--quiet", "--bare", name, tmp_path / name)
    root = tmp_path.as_uri() if form == "address" else str(tmp_path)
    if form == "address":  # a copy may lack what nobody listed
        lacking = git(upstream[0] / "bob+art", "rev-parse", "HEAD:unlisted.txt").strip()
        (tmp_path / "bob+art" / "objects" / lacking[:2] / lacking[2:]).unlink()
    mirror = f"{root}/{{owner}}+{{name}}"
    assert fetch_tier("large", tmp_path / "data", mirror=mirror)[1] == {}


def test_a_full_disk_is_said_before_anything_is_fetched(listed, server, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(OSError, match="0.0 GB are needed and 0.0 GB are free; make room"):
        fetch_tier("large", tmp_path, mirror=server.mirror)
    assert server.asked == []


@pytest.mark.parametrize(
    "mirror", ["http://lab/faces", "x/{owner}/{name}/{branch}", "{owner}{name"]
)
def test_a_mirror_s_address_has_the_fields_of_a_repository(listed, tmp_path, mirror):
    with pytest.raises(SourceError, match="needs {owner} and {name} in its address"):
        fetch_tier("large", tmp_path, mirror=mirror)
    assert not list(tmp_path.iterdir())


KILLED = """
import sys
import pandas as pd
from ddlib.data import public
table = pd.read_csv(sys.argv[1], keep_default_na=False)
public.read_list = lambda tier, without=(): table
public.THREADS = 1
true = public._write
def slow(data, path, work):
    true(data, path, work)
    print(path, flush=True)
    sys.stdin.readline()
public._write = slow
print(public.fetch_tier("large", sys.argv[2], mirror=sys.argv[3])[1])
"""


@pytest.mark.parametrize("after", [1, 5])
def test_a_killed_fetch_goes_on_where_it_stopped(listed, mirror, tmp_path, after):
    listed.to_csv(tmp_path / "list.csv", index=False)
    words = [sys.executable, "-c", KILLED, tmp_path / "list.csv", tmp_path / "data", mirror]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True) as process:
        for _ in range(after):
            process.stdout.readline()
            process.stdin.write("\n")
            process.stdin.flush()
        process.stdout.readline()
        process.kill()
    folder = tmp_path / "data" / "large"
    done = {path: (folder / path).stat().st_ino for path in content(folder)}
    assert len(done) == after  # the first that is written is the manifest
    assert fetch_tier("large", tmp_path / "data", mirror=mirror)[1] == {}
    assert set(content(folder)) == set(listed["path"]) and not len(missing(listed, folder))
    assert all((folder / path).stat().st_ino == inode for path, inode in done.items())
    assert {p.name for p in (tmp_path / "data").iterdir()} == {"large", ".large.lock"}


class TestCommand:
    @pytest.fixture
    def run(self, listed, tmp_path, monkeypatch):
        monkeypatch.delenv("DDLIB_DATA", raising=False)
        monkeypatch.setenv("DDLIB_CACHE", str(tmp_path / "cache"))

        def call(*words, **options):
            words = ["data", "fetch", *words, "--data", str(tmp_path)]
            return CliRunner().invoke(main, words, **options)

        return call

    def test_terms_are_printed_and_nothing_comes_without_consent(self, run, server, tmp_path):
        told = run("large", "--mirror", server.mirror)
        assert told.exit_code == 2 and "say --accept if you agree" in told.output
        assert "CC BY-NC-SA 4.0" in told.output and "github.com/ann/faces" in told.output
        assert "size: " in told.output
        assert server.asked == [] and not (tmp_path / "large").exists()

    @pytest.mark.parametrize(("typed", "status"), [("yes\n", 0), ("y\n", 2), ("no\n", 2)])
    def test_a_typed_yes_is_consent(self, run, server, tmp_path, monkeypatch, typed, status):
        monkeypatch.setattr("ddlib.cli.data._asks", lambda: True)
        told = run("large", "--mirror", server.mirror, input=typed)
        assert told.exit_code == status
        assert (tmp_path / "large").exists() == (status == 0)

    def test_what_is_missing_is_named_with_status_1(self, run, listed, server, tmp_path):
        server.trouble[listed["file"][3]] = 404
        told = run("sample", "--accept", "--mirror", server.mirror)
        assert told.exit_code == 1
        assert f"1 gone: the server says 404\n  {listed['path'][3]}\n" in told.output
        assert f"sample: 3 of 4 pictures in {tmp_path / 'sample'}" in told.output
        server.trouble.clear()
        told = run("sample", "--accept", "--mirror", server.mirror)
        assert told.exit_code == 0 and "4 of 4 pictures" in told.output
        assert "\r" not in told.output  # no bar where nobody watches

    def test_left_out_sets_are_neither_fetched_nor_listed(self, run, server, tmp_path):
        told = run("large", "--accept", "--without", "flux1", "--mirror", server.mirror)
        assert told.exit_code == 0 and f"{N_FILES} of {N_FILES} pictures" in told.output
        assert FIGURE not in server.asked and "flux1" not in told.output.replace("--without", "")
        manifest = open_folder(tmp_path / "large")
        assert len(manifest) == N_FILES and not len(manifest.excluded)


class TestShippedList:
    @pytest.fixture(scope="class")
    def table(self):
        return read_list("large")

    def test_it_is_whole(self, table):
        assert len(table) == 15_503 and table["path"].is_unique and table["sha256"].is_unique
        assert set(table["label"]) == {"real", "fake"}
        assert set(table["split"]) == {"train", "valid", "test"}
        assert table["sha256"].str.fullmatch("[0-9a-f]{64}").all()
        assert table["commit"].str.fullmatch("[0-9a-f]{40}").all()
        assert table["repository"].str.fullmatch("[^/]+/[^/]+").all()
        assert table["box"].str.fullmatch(r"|\d+ \d+ \d+ \d+").all()
        assert set(table["set"]) <= set(load_sources())
        assert Path(public.__file__).with_name("large.csv.xz").stat().st_size < 1_000_000

    def test_each_layout_agrees_with_the_list(self, table, tmp_path):
        """A folder that lost its manifest.csv is read as the list has it."""
        from ddlib.data.sources import _recognised

        found = _recognised(tmp_path, list(table["path"])).set_index("path")
        found = found.loc[table["path"]].reset_index()
        assert found[["label", "source"]].equals(table[["label", "source"]])
        stated = found["split"].notna().to_numpy()
        assert (found["split"][stated] == table["split"][stated]).all()

    def test_the_sample_is_a_small_part_with_all_splits(self, table):
        sample = read_list("sample")
        assert 450 < len(sample) < 550 and sample["bytes"].sum() < 25e6
        assert set(sample["path"]) < set(table["path"]) and not sample["box"].any()
        for source in ("ffhq", "stylegan", "sd21", "lfw"):
            assert set(sample["split"][sample["source"] == source]) == {"train", "valid", "test"}
        lfw = sample[sample["source"] == "lfw"]
        people = lfw["split"].groupby(lfw["path"].str.split("/").str[1]).nunique()
        assert (people == 1).all()

    def test_sets_to_leave_out_must_be_known(self):
        assert "celeba" not in set(read_list("large", ["celeba", "dfdc"])["set"])
        with pytest.raises(SourceError, match="no set of large is called 'celbea'; its sets are"):
            read_list("large", ["celbea"])
        with pytest.raises(SourceError, match="nothing is left"):
            read_list("sample", set(read_list("sample")["set"]))

    def test_terms_of_every_set(self, table):
        table = terms(table)
        assert table["pictures"].sum() == 15_503
        assert table["page"].str.startswith("https://").all()
        assert (table["show or share"] != "").all() and (table["terms"] != "").all()
        text = (Path(__file__).parents[1] / "data" / "README.md").read_text(encoding="utf-8")
        for row in table.itertuples():  # the page says the same
            (line,) = re.findall(rf"^\| {row.set}(?: \*)? \|.*github.*$", text, re.MULTILINE)
            for said in (f"{row.pictures:,}", row.what, row.page, row.terms, row[7]):
                assert said in line
        celeba = table.set_index("set").loc["celeba"]
        assert celeba["show or share"] == "no" and "pretrain_CelebA" in celeba["copies from"]


def test_a_fetched_tier_is_found_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DDLIB_DATA", raising=False)
    monkeypatch.setattr("ddlib.study.study.checkout", lambda: tmp_path / "checkout")
    with pytest.raises(ValueError, match="no folder 'sample'; `ddlib data fetch sample` brings it"):
        find_data("sample")
    for root in ("checkout/data", "data", "elsewhere"):
        (tmp_path / root / "sample").mkdir(parents=True)
        monkeypatch.setenv("DDLIB_DATA", "elsewhere" if root == "elsewhere" else "")
        assert Path(find_data("sample")).resolve() == tmp_path / root / "sample"
    (tmp_path / "sample").mkdir()
    assert find_data("sample") == "sample"  # a folder of this name comes first


def test_what_training_keeps_of_an_image_is_what_is_said():
    from ddlib.cli.data import TRAINING_BYTES
    from ddlib.mobilenet import build_detector
    from ddlib.models.features import split_backbone
    from ddlib.protocol import preset

    recipe = preset("clean", "gan")
    detector = build_detector(1.0, recipe.image_size, None, recipe.trainable_layers)
    features = np.prod(split_backbone(detector)[0].output_shape[1:])
    assert recipe.image_size**2 * 3 + 2 * features * 2 == TRAINING_BYTES


@pytest.mark.slow
def test_the_real_mirrors(tmp_path):
    """DDLIB_TEST_MIRROR names them for git, as in file:///mirrors/{owner}+{name}."""
    mirror = os.environ.get("DDLIB_TEST_MIRROR")
    if not mirror:
        pytest.skip("DDLIB_TEST_MIRROR names no mirrors")
    folder, problems = fetch_tier("sample", tmp_path, mirror=mirror)
    assert problems == {} and not len(missing(SHIPPED("sample"), folder))
