"""Results as text: names in words, numbers with their intervals, short tables."""

import pandas as pd

MEASURES = ("accuracy", "recall_real", "recall_fake", "auc")
CONDITION_NAMES = {
    "gan": "GAN",
    "gan+ela": "GAN, ELA maps",
    "gan+sd": "GAN + SD",
    "gan+sd+ela": "GAN + SD, ELA maps",
}
NAMES = {  # of sources and test sets, then of protocols, detectors, measures, perturbations
    "gan": "GAN faces",
    "sd": "Stable Diffusion",
    "sd14": "Stable Diffusion 1.4",
    "sd15": "Stable Diffusion 1.5",
    "sd21": "Stable Diffusion 2.1",
    "sd3": "Stable Diffusion 3",
    "sdxl": "SDXL",
    "flux1-dev": "FLUX.1 dev",
    "flux1-pro": "FLUX.1 pro",
    "flux1-schnell": "FLUX.1 schnell",
    "ffhq": "FFHQ",
    "stylegan": "StyleGAN",
    "stylegan2": "StyleGAN2",
    "stylegan3": "StyleGAN3",
    "lfw": "LFW photographs",
    "utkface": "UTKFace photographs",
    "celeba": "CelebA photographs",
    "unsplash": "Unsplash photographs",
    "video-dfdc": "DFDC video frames",
    "faceswap-dfdc": "DFDC face swaps",
    "ciplab": "CIPLAB composites",
    "photo": "CIPLAB photographs",
    "photoshop": "Photoshop composites",
    "dalle_mini": "DALL-E mini",
    "cats": "generated cats",
    "gan-cats": "GAN cats",
    "cat-photos": "cat photographs",
    "mycat": "the study's cat",
    "sim-camera": "simulated camera",
    "sim-camera-large": "simulated camera, large pictures",
    "sim-gan": "simulated GAN",
    "sim-sd512": "simulated SD, 512 px",
    "sim-sd768": "simulated SD, 768 px",
    "sim-sd1024": "simulated SD, 1024 px",
    "sim-cat-camera": "simulated cats, camera",
    "sim-cat-vq": "simulated cats, VQ decoder",
    "paper": "study's protocol",
    "clean": "clean protocol",
    "mobilenet025": "MobileNet V1, width 0.25",
    "mobilenet075": "MobileNet V1, width 0.75",
    "recall_fake": "recall of fakes",
    "recall_real": "recall of reals",
    "balanced_accuracy": "balanced accuracy",
    "auc": "AUC",
    "ap": "average precision",
    "score": "score, P(fake)",
    "flips": "verdicts that flip",
    "jpeg": "JPEG quality",
    "blur": "blur (sigma)",
    "resize": "resized to",
    "crop": "cropped to",
    "noise": "noise (sigma)",
    "right": "share of images called right",
    "share": "share of the heat",
    "above_chance": "share of the heat, less the face's share of the picture",
    "similarity": "rank correlation with the trained model's maps",
}


def display_name(word: str, column: str = "test_set") -> str:
    """Return a value of a column, or a measure, in words; the word itself if unknown.

    The column tells the condition "gan" from the test set of that name. A detector is named by the
    condition that it was trained on, or as the shipped file.

    Examples
    --------
    >>> display_name("sd21"), display_name("recall_fake"), display_name("my-phone")
    ('Stable Diffusion 2.1', 'recall of fakes', 'my-phone')
    >>> display_name("gan"), display_name("gan", "condition"), display_name("clean", "protocol")
    ('GAN faces', 'GAN', 'clean protocol')
    """
    if column in ("condition", "detector") and word in CONDITION_NAMES:
        return CONDITION_NAMES[word]
    return NAMES.get(word, word)


def with_interval(value: float, low: float, high: float) -> str:
    """Return a proportion and its interval as text: ``0.941 [0.938, 0.944]``."""
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"


def column_with_interval(table: pd.DataFrame, value: str, ends=None) -> pd.Series:
    """Return a column and its interval as text, empty where the value is missing.

    The interval lies in ``<value>_low`` and ``<value>_high``, or in the two columns that `ends`
    names.

    Examples
    --------
    >>> table = pd.DataFrame({"auc": [0.941, None], "auc_low": [0.938, None], "auc_high": 0.944})
    >>> column_with_interval(table, "auc").tolist()
    ['0.941 [0.938, 0.944]', '']
    """
    low, high = ends or (f"{value}_low", f"{value}_high")
    rows = table[[value, low, high]].to_numpy(float)
    texts = ["" if pd.isna(row[0]) else with_interval(*row) for row in rows]
    return pd.Series(texts, table.index)


def percent(value: float, low: float, high: float) -> str:
    """Return a proportion with its 95 % interval in words.

    Examples
    --------
    >>> percent(0.03, 0.011, 0.084)
    '3 % (95 % interval 1 to 8 %)'
    """
    if pd.isna(value):
        return "not measured"
    return f"{100 * value:.0f} % (95 % interval {100 * low:.0f} to {100 * high:.0f} %)"


def p_text(p_value: float) -> str:
    """Return a p-value as text; no p-value is zero.

    Examples
    --------
    >>> p_text(0.0625), p_text(9.5e-27)
    ('0.062', '< 0.001')
    """
    return "< 0.001" if p_value < 0.001 else f"{p_value:.3f}"


def summary(rows: pd.DataFrame, measures=MEASURES) -> pd.DataFrame:
    """Return rows of ``runs/<tier>/results.csv`` as text: counts, measures with 95 % intervals.

    The index is the test set in words. A measure that a set lacks (accuracy of a single class) is
    left empty.
    """
    table = pd.DataFrame({"reals": rows["n_real"].astype(int), "fakes": rows["n_fake"].astype(int)})
    for name in measures:
        table[display_name(name)] = column_with_interval(rows, name)
    if "metadata_auc" in rows:
        area = ["" if pd.isna(value) else f"{value:.3f}" for value in rows["metadata_auc"]]
        reaches = rows["metadata_auc_reaches_model"].astype(str) == "True"
        table["blind null AUC"] = area + reaches.map({True: " reaches the model", False: ""})
    table.index = pd.Index(rows["test_set"].map(display_name), name="test set")
    return table


def styled(table: pd.DataFrame, precision: int = 3):
    """Return a table as a notebook shows it: no index, words flush left, numbers rounded."""
    left = [{"selector": tag, "props": "text-align: left"} for tag in ("th", "td")]
    words = table.select_dtypes(exclude="number")
    shown = table.style.hide(axis="index").format(precision=precision, thousands=",", na_rep="")
    return shown.set_table_styles(dict.fromkeys(words, left))


def format_table(table: pd.DataFrame) -> str:
    """Return a table as text with words flush left; pandas puts them flush right."""
    if not len(table):
        return "(no rows)"
    words = table.select_dtypes(exclude="number")
    padded = words.apply(lambda column: column.str.ljust(column.str.len().max()))
    table = pd.concat([padded, table.select_dtypes("number")], axis=1)[list(table)]
    return table.to_string(index=False, justify="left")


def to_markdown(table: pd.DataFrame) -> str:
    """Return a table as Markdown.

    Examples
    --------
    >>> print(to_markdown(pd.DataFrame({"n": [1], "set": ["GAN faces"]})))
    | n | set |
    | --- | --- |
    | 1 | GAN faces |
    """
    lines = [list(table), ["---"] * table.shape[1], *table.to_numpy().tolist()]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
