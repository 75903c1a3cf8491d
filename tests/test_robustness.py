"""Disturbances that do what they say, and verdicts counted by hand."""

import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from ddlib.data.manifest import Manifest, build_manifest
from ddlib.deploy import robustness
from ddlib.deploy.detector import Detector
from ddlib.deploy.robustness import compare_columns, perturbed_logits, shared_logits, sweep
from ddlib.images.jpeg import recompress
from ddlib.images.perturb import DEFAULT_PERTURBATIONS, PERTURBATIONS, perturb
from ddlib.images.read import ImageError
from ddlib.metrics.intervals import wilson
from ddlib.protocol import preset

GREY = np.full((200, 200, 3), 128, np.uint8)
PROTOCOL = preset("clean", "gan", image_size=32, jpeg_quality=None)


@pytest.fixture
def image(rng):
    return rng.integers(0, 256, (48, 64, 3), np.uint8)


class Brightness:
    """Scores a picture by its mean grey level: 128 is a logit of 0, eight levels are one."""

    workers = 2

    def logit(self, image):
        assert image.shape == (32, 32, 3)
        return (image.mean() - 128) / 8


def detector(**card):
    return Detector("brightness", None, {"protocol": PROTOCOL.to_dict(), **card})


def write(root, pictures):
    """Write {name: (label, image)} as PNG and return their manifest."""
    files = []
    for name, (label, image) in pictures.items():
        Image.fromarray(image).save(root / f"{name}.png")
        source = "ffhq" if label == "real" else "stylegan"
        files.append({"path": f"{name}.png", "label": label, "source": source, "split": "test"})
    manifest, aside = build_manifest(files, root)
    assert not len(aside)
    return manifest


def framed(middle, border):
    """Return a picture of 100 pixels whose middle half of each side has another grey level."""
    image = np.full((100, 100, 3), border, np.uint8)
    image[25:75, 25:75] = middle
    return image


@pytest.fixture
def pictures(tmp_path):
    """Two reals and two fakes; a crop to the middle half turns one of each over.

    Whole, their mean is border + (middle - border) / 4; cropped it is the middle.
    """
    return write(
        tmp_path,
        {
            "real-stays": ("real", framed(80, 60)),  # 65, then 80: real, real
            "real-turns": ("real", framed(180, 100)),  # 120, then 180: real, fake
            "fake-stays": ("fake", framed(220, 200)),  # 205, then 220: fake, fake
            "fake-turns": ("fake", framed(90, 200)),  # 172.5, then 90: fake, real
        },
    )


class TestDisturb:
    def test_jpeg_is_one_more_saving(self, image):
        for quality in (95, 30):
            expected = recompress(image, quality)
            np.testing.assert_array_equal(perturb(image, "jpeg", quality), expected)

    def test_crop_keeps_the_middle_of_each_side(self, image):
        cropped = perturb(image, "crop", 0.5)
        np.testing.assert_array_equal(cropped, image[12:36, 16:48])

    @pytest.mark.parametrize(("kind", "mildest"), [("resize", 1), ("crop", 1), ("noise", 0)])
    def test_no_strength_changes_nothing(self, image, kind, mildest):
        np.testing.assert_array_equal(perturb(image, kind, mildest), image)

    def test_resize_keeps_size_and_slopes_and_wipes_out_a_fine_grid(self):
        slope = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None] * 2, 3, axis=2)
        slope = np.repeat(slope, 48, axis=0)
        back = perturb(slope, "resize", 0.5)
        assert back.shape == slope.shape
        inner = np.s_[4:-4, 4:-4]
        assert np.abs(back[inner].astype(int) - slope[inner]).max() <= 1
        grid = GREY.copy()
        grid[:, ::2] = 100
        assert perturb(grid, "resize", 0.25)[inner].std() < 1 < grid.std()

    @pytest.mark.parametrize("sigma", [1, 2])
    def test_blur_spreads_an_edge_by_its_sigma(self, sigma):
        edge = np.zeros((20, 60, 3), np.uint8)
        edge[:, 30:] = 250
        profile = perturb(edge, "blur", sigma)[10, :, 0].astype(float)
        spread = np.diff(profile) / 250  # of a point: what the slope of a blurred edge is
        place = np.arange(len(spread))
        middle = (spread * place).sum()
        assert spread.sum() == pytest.approx(1)
        assert ((place - middle) ** 2 * spread).sum() == pytest.approx(sigma**2, rel=0.1)

    @pytest.mark.parametrize("sigma", [2, 5, 10])
    def test_noise_has_the_sigma_that_was_asked_for(self, sigma):
        noise = perturb(GREY, "noise", sigma).astype(float) - 128
        # 120,000 values: the standard error of sigma is 0.2 %; rounding adds 1/12 to the variance
        assert noise.std() == pytest.approx((sigma**2 + 1 / 12) ** 0.5, rel=0.01)
        assert abs(noise.mean()) < 4 * sigma / len(noise.ravel()) ** 0.5

    def test_noise_is_that_of_its_seed_and_its_strength_the_scale(self):
        first, again, other = (perturb(GREY, "noise", 5, s) for s in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert (first != other).mean() > 0.5
        double = perturb(GREY, "noise", 10, 1).astype(int) - 128
        assert np.abs(double - 2 * (first.astype(int) - 128)).max() <= 1

    def test_the_picture_that_was_given_stays_as_it_is(self, image):
        before = image.copy()
        for kind, strength in DEFAULT_PERTURBATIONS:
            changed = perturb(image, kind, strength)
            assert changed.dtype == np.uint8
            assert not np.array_equal(changed, image)
        np.testing.assert_array_equal(image, before)

    def test_every_kind_runs_from_mild_to_harsh(self, rng):
        image = rng.normal(128, 40, (64, 64, 3)).clip(0, 255).astype(np.uint8)
        for name, kind in PERTURBATIONS.items():
            if name != "crop":  # which changes the size and not the pixels
                change = [
                    np.abs(perturb(image, name, s).astype(int) - image).mean()
                    for s in kind.strengths
                ]
                assert change == sorted(change), name

    @pytest.mark.parametrize(
        ("kind", "strength", "message"),
        [
            ("smear", 1, r"'smear' is not known; choose from jpeg, blur, resize, crop, noise"),
            ("jpeg", 0, r"jpeg 0 is out of range; give 1 to 100"),
            ("resize", 1.5, r"resize 1.5 is out of range; give 0.01 to 1"),
            ("noise", float("nan"), r"noise nan is out of range"),
        ],
    )
    def test_what_cannot_be_is_refused(self, image, kind, strength, message):
        with pytest.raises(ValueError, match=message):
            perturb(image, kind, strength)

    def test_another_kind_of_array_is_refused(self, image):
        with pytest.raises(ValueError, match="float64"):
            perturb(image / 255, "blur", 1)


class TestLogits:
    def test_rows_are_pictures_and_columns_disturbances(self, pictures):
        found = perturbed_logits(pictures, detector(), [("crop", 0.5)], Brightness())
        means = np.array([[65, 80], [120, 180], [205, 220], [172.5, 90]])
        np.testing.assert_allclose(found, (means - 128) / 8, atol=0.1)  # resizing rounds

    def test_the_manifests_own_crop_comes_first(self, pictures):
        table = pictures.table.assign(crop_share=0.5)
        cropped = Manifest(pictures.root, table)
        found = perturbed_logits(cropped, detector(), scorer=Brightness())
        np.testing.assert_allclose(found[:, 0], (np.array([80, 180, 220, 90]) - 128) / 8)

    def test_a_picture_has_its_own_noise_in_every_set(self, pictures):
        noise = [("noise", 10)]
        all_of_them = perturbed_logits(pictures, detector(), noise, Brightness())
        last = Manifest(pictures.root, pictures.table.iloc[3:])
        alone = perturbed_logits(last, detector(), noise, Brightness())
        np.testing.assert_array_equal(alone[0], all_of_them[3])
        assert alone[0, 0] != alone[0, 1]

    def test_detectors_that_share_pictures_answer_as_each_alone(self, pictures, monkeypatch):
        other = {"protocol": replace(PROTOCOL, jpeg_quality=20).to_dict()}
        found = {"a": detector(), "b": detector(**other), "c": detector()}
        change = [("crop", 0.5)]
        ask = dict.fromkeys(found, Brightness())
        alone = {n: perturbed_logits(pictures, d, change, ask[n]) for n, d in found.items()}
        read, reads = robustness.read_image, []
        monkeypatch.setattr(
            robustness, "read_image", lambda path: (reads.append(path), read(path))[1]
        )
        shared = shared_logits(pictures, found, change, ask)
        assert list(shared) == ["a", "b", "c"]
        for name, logits in alone.items():
            np.testing.assert_array_equal(shared[name], logits)
        assert not np.array_equal(shared["a"], shared["b"])
        assert len(reads) == 2 * len(pictures)  # once for a and c, once for b

    def test_a_file_that_cannot_be_read_is_named(self, pictures):
        (pictures.root / "fake-stays.png").write_bytes(b"no picture")
        with pytest.raises(ImageError, match="fake-stays.png"):
            perturbed_logits(pictures, detector(), scorer=Brightness())

    def test_no_pictures_are_an_error(self, pictures):
        nothing = Manifest(pictures.root, pictures.table[:0])
        with pytest.raises(ValueError, match="empty"):
            perturbed_logits(nothing, detector(), scorer=Brightness())


class TestSweep:
    def test_flips_and_recalls_by_hand(self, pictures):
        table = sweep(pictures, detector(), [("crop", 0.5)], Brightness())
        plain, cropped = table.to_dict("records")
        assert plain["disturbance"] == "none" and np.isnan(plain["strength"])
        assert (plain["accuracy"], plain["flips"], plain["n_flips"]) == (1, 0, 0)
        assert (cropped["disturbance"], cropped["strength"]) == ("crop", 0.5)
        assert (cropped["n_real"], cropped["n_fake"]) == (2, 2)
        assert [cropped[k] for k in ("accuracy", "recall_real", "recall_fake")] == [0.5] * 3
        assert (cropped["n_flips"], cropped["flips"], cropped["change"]) == (2, 0.5, -0.5)
        for share in ("flips", "accuracy"):
            assert (cropped[f"{share}_low"], cropped[f"{share}_high"]) == wilson(2, 4)

    def test_the_cards_threshold_and_temperature_decide(self, pictures):
        # sigmoid((172.5 - 128) / 8 / 4) = 0.80 and sigmoid((205 - 128) / 8 / 4) = 0.92
        strict = detector(temperature=4.0, threshold=0.9)
        table = sweep(pictures, strict, [("crop", 0.5)], Brightness())
        assert table["threshold"].tolist() == [0.9, 0.9]
        assert table["recall_fake"].tolist() == [0.5, 0.5]
        assert table["n_flips"].tolist() == [0, 0]

    def test_one_class_has_a_recall_and_no_accuracy(self, pictures):
        fakes = pictures.select(label="fake")
        table = sweep(fakes, detector(), [("crop", 0.5)], Brightness())
        assert table["recall_fake"].tolist() == [1, 0.5]
        assert table["change"].tolist() == [0, -0.5]
        assert table[["accuracy", "accuracy_low", "recall_real"]].isna().all(axis=None)

    def test_accuracy_can_hide_flips(self):
        scores = np.array([[0.1, 0.9], [0.9, 0.1], [0.9, 0.9], [0.1, 0.1]])
        table = compare_columns([0, 0, 1, 1], scores, [("blur", 1)])
        assert table["accuracy"].tolist() == [0.5, 0.5]
        assert table["n_flips"].tolist() == [0, 2]
        assert table["change"].tolist() == [0, 0]

    def test_a_disturbance_that_changes_nothing_flips_nothing(self, pictures):
        mildest = [("resize", 1), ("crop", 1), ("noise", 0)]
        table = sweep(pictures, detector(), mildest, Brightness())
        assert table["n_flips"].tolist() == [0] * 4
        assert table["accuracy"].tolist() == [1] * 4

    def test_columns_without_their_disturbance_are_refused(self):
        with pytest.raises(ValueError, match=r"\(N, 2\); got \(3, 3\)"):
            compare_columns([0, 1, 1], np.zeros((3, 3)), [("blur", 1)])

    def test_few_pictures_are_in_memory_at_a_time(self, pictures, monkeypatch):
        many = SimpleNamespace(read=0, scored=0, ahead=0)

        def read(path):
            many.read += 1
            many.ahead = max(many.ahead, many.read - many.scored)
            return framed(80, 60)

        class Slow(Brightness):
            def logit(self, image):
                many.scored += 1
                return super().logit(image)

        monkeypatch.setattr(robustness, "read_image", read)
        rows = pictures.table.iloc[np.zeros(200, int)]
        found = perturbed_logits(Manifest(pictures.root, rows), detector(), (), Slow())
        assert found.shape == (200, 1)
        assert many.ahead <= Slow.workers


def test_the_module_loads_no_tensorflow():
    code = "import ddlib.deploy.robustness, sys; print('keras' in sys.modules, 'tensorflow' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.split() == ["False", "False"]
