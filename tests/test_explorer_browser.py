"""The explorer in a real browser: every control moved as a person would, the pixels compared.

Screenshots of each step are kept in runs/browser/ to be looked at.
"""

import browser
import handmade
import numpy as np
import pytest

from ddlib.cli._explorer_page import write_page
from ddlib.viz.explorer.engine import Engine
from ddlib.viz.explorer.panels import CAPTION, GAP, HEAD, SIDE
from ddlib.viz.explorer.terms import Picture, Settings

pytestmark = pytest.mark.slow
SHOTS = browser.ROOT / "runs" / "browser"
TOP = slice(8 + HEAD + CAPTION, 8 + HEAD + CAPTION + SIDE)  # where the panels are in the picture
LEFT, RIGHT = slice(GAP, GAP + SIDE), slice(2 * GAP + SIDE, 2 * (GAP + SIDE))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    browser.find()
    return handmade.study(tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="module")
def chromium():
    program = browser.find()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=list(browser.FLAGS))
        yield started
        started.close()


@pytest.fixture(scope="module")
def opened(folders, chromium):
    """The page, opened once."""
    with browser.explorer_page(*folders) as address:
        page = chromium.new_page(viewport={"width": 1280, "height": 900}, accept_downloads=True)
        explorer = browser.Explorer(page)
        explorer.open(address)
        yield explorer
        page.close()


@pytest.fixture
def app(opened, request):
    """The page at its beginning, on a picture that the detector calls fake."""
    opened.page.set_viewport_size({"width": 1280, "height": 900})
    opened.page.get_by_role("button", name="Reset").click()
    opened.settle()
    if "stylegan-0" not in opened.verdict:
        with opened.changing():
            opened.slide("Picture", "Home", *["ArrowRight"] * 6)
    opened.settle()
    yield opened
    SHOTS.mkdir(parents=True, exist_ok=True)
    opened.page.screenshot(path=SHOTS / f"{request.node.name}.png", full_page=True)
    assert opened.complaints == []


def test_shows_score_verdict_and_both_panels(app, folders):
    data, runs = folders
    assert "clean-gan: fake, P(fake)" in app.verdict and "It is fake, from stylegan" in app.verdict
    model = runs / "pictures" / "models" / "clean-gan" / "detector.keras"
    picture = Picture("stylegan-0.png", data / "stylegan-0.png")
    (view,) = Engine().views(picture, {"clean-gan": model}, Settings())
    assert app.score == pytest.approx(view.score, abs=5e-4)
    shown = app.picture()
    assert shown.shape[1] == 2 * SIDE + 3 * GAP
    assert np.abs(shown[TOP, LEFT] - shown[TOP, RIGHT]).mean() > 5
    assert "ms." in app.page.inner_text(".ddlib-said")


def check_opacity(app):
    """Move the opacity: the overlay changes, the picture and its score do not."""
    before, score = app.picture(), app.score
    with app.changing():
        app.slide("Opacity", "End")
    after = app.picture()
    np.testing.assert_array_equal(before[TOP, LEFT], after[TOP, LEFT])
    assert np.abs(before[TOP, RIGHT] - after[TOP, RIGHT]).mean() > 5
    assert app.score == score


def test_opacity_changes_the_overlay_alone(app):
    check_opacity(app)


def test_layer_colours_outline_and_target_change_the_overlay(app):
    score = app.score
    for act in (
        lambda: app.page.get_by_label("Layer").select_option(label="conv_1 (64 x 64)"),
        lambda: app.page.get_by_label("Layer").select_option(label="fused: mean of 2 layers"),
        lambda: app.page.get_by_label("Colours").select_option(label="jet (the study's)"),
        lambda: app.page.get_by_label("Outline the hottest part").uncheck(),
        lambda: app.page.get_by_label("Evidence for").select_option("real"),
    ):
        before = app.picture()
        with app.changing():
            act()
        after = app.picture()
        np.testing.assert_array_equal(before[TOP, LEFT], after[TOP, LEFT])
        assert np.abs(before[TOP, RIGHT] - after[TOP, RIGHT]).mean() > 0.2
        assert app.score == score
    np.testing.assert_array_equal(after[TOP, LEFT], after[TOP, RIGHT])  # no evidence for real


def test_another_picture_has_another_score(app):
    before, score = app.picture(), app.score
    with app.changing():
        app.page.get_by_role("button", name="Previous").click()
    assert "ffhq-5.png. clean-gan: real" in app.verdict and app.score < score
    assert np.abs(before[TOP, LEFT] - app.picture()[TOP, LEFT]).mean() > 5


def test_changes_of_the_picture_move_score_and_input(app):
    before, score = app.picture(), app.score
    with app.changing():
        app.slide("JPEG quality", "Home")
    jpeg = app.score
    assert jpeg != score and np.abs(before[TOP, LEFT] - app.picture()[TOP, LEFT]).mean() > 1
    with app.changing():
        app.slide("Side (px)", "Home")
    assert app.score < min(jpeg, score)


def test_ela_is_a_third_panel_and_two_models_stand_side_by_side(app):
    one = app.picture()
    with app.changing():
        app.page.get_by_label("Show ELA").check()
    assert app.picture().shape[1] == one.shape[1] + SIDE + GAP
    with app.changing():
        app.page.get_by_label("Compare with").select_option("clean-gan+sd")
    two = app.picture()
    assert two.shape[1] == one.shape[1] + SIDE + GAP and two.shape[0] > one.shape[0]
    assert app.verdict.count("P(fake)") == 2


@pytest.fixture
def mine(folders, tmp_path):
    """A file of one's own, real, that is longer than a message to the kernel may be."""
    file = tmp_path / "mine.png"
    file.write_bytes((folders[0] / "ffhq-2.png").read_bytes() + bytes(11_000_000))
    return file


@pytest.mark.parametrize("how", ["drop_file", "choose_file"])
def test_a_file_of_ones_own_is_scored_and_a_bad_one_gets_a_sentence(app, mine, how):
    bad = mine.with_name("holiday.jpg")
    bad.write_bytes(b"this is no picture")
    bring = getattr(app, how)
    before, score = app.picture(), app.score
    with app.changing():
        bring(mine)
    assert "mine.png. clean-gan: real" in app.verdict and app.score < score
    assert np.abs(before[TOP, LEFT] - app.picture()[TOP, LEFT]).mean() > 5
    bring(bad)
    assert app.told().startswith("Holiday.jpg: the content is no image known here")
    assert "Traceback" not in app.page.content()
    assert not app.page.is_visible(".ddlib-picture")
    app.page.screenshot(path=SHOTS / f"bad_file_{how}.png", full_page=True)
    bring(mine)
    app.page.wait_for_selector(".ddlib-picture", state="visible")
    assert not app.page.query_selector(".ddlib-error")


def test_what_is_not_one_file_gets_a_sentence(app, mine, tmp_path):
    large = tmp_path / "scan.tif"
    with large.open("wb") as file:
        file.truncate(101_000_000)
    before = app.picture()
    for files, words in (
        ([mine, large], "These are 2 files (mine.png, scan.tif); bring one at a time."),
        ([large], "Scan.tif has 101 MB; allowed are 100 MB."),
        ([tmp_path], f"{tmp_path.name.capitalize()} could not be read; bring a picture file"),
    ):
        app.drop_file(*files)
        app.page.wait_for_selector(f".ddlib-error:has-text('{words}')")
    np.testing.assert_array_equal(app.picture(), before)


def test_the_zone_shows_what_is_over_it_and_answers_to_the_keyboard(app, mine):
    border = "e => getComputedStyle(e).borderStyle"
    assert app.zone.evaluate(border) == "dashed"
    app.drag([mine], "dragEnter", "dragOver")
    assert app.zone.evaluate(border) == "solid"
    app.drag([mine], "dragOver", "dragCancel", onto=app.page.get_by_label("Source"))
    app.page.wait_for_selector(".ddlib-drop:not(.ddlib-over)")
    app.page.get_by_role("button", name="Previous").press("Shift+Tab")
    assert app.zone.evaluate("e => e === document.activeElement")
    assert app.zone.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    with app.changing():
        app.choose_file(mine, open_dialog=lambda: app.page.keyboard.press("Enter"))
    assert "mine.png" in app.verdict


def test_filters_narrow_the_gallery(app):
    app.page.get_by_label("Source").select_option("ffhq")
    app.page.wait_for_selector("text=6 of 12 pictures")
    app.page.get_by_label("Label").select_option("fake")
    assert "No picture passes these filters" in app.told()


def test_the_saved_picture_is_the_one_on_the_screen(app):
    app.page.get_by_role("button", name="Save picture").click()
    link = app.page.wait_for_selector(".ddlib-said a[download]")
    with app.page.expect_download() as download:
        link.click()
    saved = browser.Image.open(download.value.path()).convert("RGB")
    np.testing.assert_array_equal(np.asarray(saved), app.picture())


@pytest.mark.parametrize("width", [1280, 800])
def test_fits_the_window_without_scrolling_sideways(app, width):
    app.page.set_viewport_size({"width": width, "height": 900})
    app.settle()
    assert app.page.evaluate("document.documentElement.scrollWidth") <= width
    for name in ("Model", "Layer", "Source", "Compare with"):
        choice = app.page.get_by_label(name, exact=True)
        assert choice.evaluate("e => e.selectedOptions[0].text"), f"{name} shows nothing"
        box = choice.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width and box["width"] > 90


def test_the_tab_key_reaches_every_kind_of_control(app):
    app.page.get_by_label("Source").focus()
    reached = set()
    for _ in range(45):
        app.page.keyboard.press("Tab")
        script = "(e => e.getAttribute('role') || e.type || e.tagName)(document.activeElement)"
        reached.add(app.page.evaluate(script))
    assert {"slider", "select-one", "checkbox", "text", "submit"} & reached >= {
        *("slider", "select-one", "checkbox", "text")
    }


@pytest.fixture
def window(chromium, request):
    """An empty page, of which a picture is kept."""
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    yield page
    page.screenshot(path=SHOTS / f"{request.node.name.replace('/', '-')}.png")
    page.close()


@pytest.mark.parametrize(
    ("program", "where"), [("jupyterlab", "lab/tree"), ("notebook", "notebooks")]
)
def test_works_in_jupyterlab_and_in_notebook_7(program, where, folders, window, mine):
    browser.need(program)
    served = mine.with_name("notebooks")
    write_page(served, *map(str, folders))
    with browser.jupyter(program, served) as address:
        window.goto(f"{address}{where}/explorer.ipynb", timeout=browser.READY)
        window.wait_for_selector(".jp-Notebook .jp-CodeCell", timeout=browser.READY)
        app = browser.Explorer(window)  # what the program says while it starts is not ours
        app.run_notebook()
        score = app.score
        check_opacity(app)
        with app.changing():
            app.drop_file(mine)
        assert "mine.png. clean-gan: real" in app.verdict and app.score != score
        assert app.complaints == []
