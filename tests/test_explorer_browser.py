"""The explorer in a real browser, at two widths; screenshots are kept in runs/browser/."""

import socket
import urllib.error
import urllib.request
from contextlib import suppress

import browser
import handmade
import pytest

from ddlib.cli.explore import write_page

pytestmark = pytest.mark.slow
SHOTS = browser.ROOT / "runs" / "browser"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    browser.find()
    return handmade.study(tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="module")
def chromium():
    program = browser.find()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=browser.FLAGS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def address(folders):
    with browser.explorer_page(*folders) as address:
        yield address


@pytest.fixture(scope="module")
def opened(address, chromium):
    page = chromium.new_page(viewport={"width": 1200, "height": 900}, accept_downloads=True)
    page.goto(address, timeout=1000 * browser.READY)
    explorer = browser.Page(page)
    explorer.wait_until_shown()
    yield explorer
    page.close()


@pytest.fixture(params=[1200])
def app(opened, request):
    """The page at its beginning, on a picture that the detector calls fake."""
    opened.page.set_viewport_size({"width": request.param, "height": 900})
    opened.page.get_by_role("button", name="Reset").click()
    opened.settle()
    with opened.changing():
        opened.slide("Picture", "Home", *["ArrowRight"] * 6)
    yield opened
    SHOTS.mkdir(parents=True, exist_ok=True)
    opened.page.screenshot(path=SHOTS / f"{request.node.name}.png", full_page=True)
    assert opened.complaints == []
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= request.param


def test_the_page_opens_with_its_token_alone_and_on_this_computer_alone(address, opened):
    base, token = address.split("?token=")
    assert base.startswith("http://127.0.0.1:") and len(token) >= 32

    def ask(address, host="localhost"):
        request = urllib.request.Request(address, headers={"Host": host})
        return urllib.request.urlopen(request, timeout=60)

    assert "voila" in opened.page.content()
    for wrong in (base, f"{base}?token=guess"):
        assert "/login" in ask(wrong).url
    kernel = f"{base}api/kernels/1-1-1-1-1"
    with pytest.raises(urllib.error.HTTPError, match="403|405"):
        ask(kernel)
    # a name that another site had resolved to this computer
    for way in (address, f"{kernel}/channels?token={token}", f"{base}login"):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            ask(way, "evil.example")


def test_others_are_let_in_only_where_asked_and_with_a_token(folders):
    with browser.explorer_page(*folders, "--host", "0.0.0.0") as address:
        asked = urllib.request.Request(address.split("?")[0], headers={"Host": "pool.example"})
        assert "/login" in urllib.request.urlopen(asked, timeout=60).url


def test_controls_of_the_explanation_change_the_map_and_nothing_else(app):
    verdict = app.verdict
    assert "GAN, clean protocol: fake, P(fake)" in verdict and "It is fake: StyleGAN" in verdict
    for act in (
        lambda: app.slide("Opacity", "End"),
        lambda: app.page.get_by_label("Layer").select_option(label="conv_1 (64 x 64)"),
        lambda: app.page.get_by_label("Colours").select_option(label="jet (the study's)"),
        lambda: app.page.get_by_label("Outline the hottest part").uncheck(),
        lambda: app.page.get_by_label("Evidence for").select_option("real"),
    ):
        (picture, overlay) = app.images()
        with app.changing():
            act()
        after = app.images()
        assert after[0] == picture and after[1] != overlay and app.verdict == verdict
    assert "No evidence for real" in app.page.inner_text(".ddlib-panels")


@pytest.mark.parametrize("app", [1200, 600], indirect=True)
def test_changes_of_the_picture_and_a_second_model_and_ela(app):
    score = app.score
    with app.changing():
        app.slide("Save as JPEG", "End")
    jpeg = app.score
    with app.changing():
        app.slide("Resize to", "End")
    assert app.score < min(jpeg, score) and jpeg != score
    assert "Input, resized to 16 px, JPEG 5, 64 px" in app.page.inner_text(".ddlib-panels")
    with app.changing():
        app.page.get_by_label("Compare with").select_option("MobileNet V1, width 0.25")
    with app.changing():
        app.page.get_by_label("Show ELA").select_option(label="JPEG quality 90")
    assert len(app.images()) == 4 and app.verdict.count("P(fake)") == 2


def test_a_file_of_ones_own_is_scored_and_what_cannot_be_gets_a_sentence(app, folders, tmp_path):
    mine, bad = tmp_path / "mine.png", tmp_path / "holiday.jpg"
    # real, and longer than a message to the kernel may be
    mine.write_bytes((folders[0] / "ffhq-2.png").read_bytes() + bytes(11_000_000))
    bad.write_bytes(b"this is no picture")
    large = tmp_path / "scan.tif"
    with large.open("wb") as file:
        file.truncate(101_000_000)
    app.drop(mine)
    app.page.wait_for_selector("text=mine.png. GAN, clean protocol: real")
    app.drop(mine, large)
    app.told("These are 2 files; bring one at a time.")
    app.drop(large)
    app.told("scan.tif has 101 MB; allowed are 100 MB.")
    app.drop(tmp_path)
    app.told("could not be read; bring a picture file")
    app.drop(bad)
    app.told("holiday.jpg: the content is")
    assert app.images() == [] and "Traceback" not in app.page.content()
    with app.page.expect_file_chooser() as chooser:
        app.zone.press("Enter")
    chooser.value.set_files(mine)
    app.page.wait_for_selector("text=mine.png. GAN, clean protocol: real")
    assert not app.page.query_selector(".ddlib-error")


def test_keyboard_and_saving(app):
    app.page.get_by_role("button", name="Save picture").click()
    link = app.page.wait_for_selector("a[download]")
    with app.page.expect_download() as download:
        link.click()
    assert download.value.path().read_bytes().startswith(b"\x89PNG")
    app.page.get_by_label("Source").focus()
    reached = set()
    for _ in range(40):
        app.page.keyboard.press("Tab")
        script = "(e => e.getAttribute('role') || e.type || e.tagName)(document.activeElement)"
        reached.add(app.page.evaluate(script))
    assert reached >= {"slider", "select-one", "checkbox", "button"} | {"submit"} & reached


def test_works_in_jupyterlab(folders, chromium, tmp_path):
    data, runs = map(str, folders)
    write_page(tmp_path, (data, runs, None, False))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    page = chromium.new_page(viewport={"width": 1200, "height": 900})
    with browser.jupyter(tmp_path, port) as address:
        page.goto(f"{address}lab/tree/explorer.ipynb?token=secret", timeout=1000 * browser.READY)
        # told to run before its kernel is there, JupyterLab asks which kernel: Python 3 is chosen
        asks = page.locator(".jp-Dialog")
        page.add_locator_handler(asks, lambda dialog: dialog.locator(".jp-mod-accept").click())
        idle = ".jp-Notebook-ExecutionIndicator[data-status=idle]"
        for _ in range(6):
            page.wait_for_selector(idle, timeout=1000 * browser.READY)
            for entry in ("Run", "Run All Cells"):
                page.get_by_role("menuitem", name=entry, exact=True).click()
            with suppress(Exception):  # a kernel that has just come up drops what it is told to run
                page.wait_for_selector(".ddlib-explorer", timeout=20_000)
                break
        app = browser.Page(page)  # what the program says while it starts is not ours
        app.wait_until_shown()
        picture, _ = app.images()
        with app.changing():
            app.slide("Opacity", "End")
        assert app.images()[0] == picture and app.complaints == []
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SHOTS / "jupyterlab.png")
    page.close()
