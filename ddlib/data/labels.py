"""What a path says of an image: real or fake, made by whom, in which split.

Two rules read it. A `Layout` is the pattern of a known data set, from ``sources.toml``; it turns a
path into label, source and split. For a folder of one's own the names of its folders decide
(`folder_facts`): the outermost that says "real" or "fake", alone or with a plain word, is the
label of everything below it.
"""

import re
from dataclasses import dataclass
from functools import cache as remember
from functools import cached_property

from ddlib.data.manifest import SPLIT_WORDS
from ddlib.protocol import LABELS

# Words beside "real", "fake" or a split that leave a folder's name a label or a split.
_PLAIN_WORDS = {"training", "set", "image", "images", "face", "faces", "photo", "photos"}
# Words that make a folder's name a generator's, a class's or a set's and nobody's.
_NOBODY = {"gan", "stylegan", "progan", "diffusion", "stable", "sd", "sdxl", "dalle", "dall"}
_NOBODY |= {"midjourney", "flux", "generated", "synthetic", "deepfake", "swap", "fakes"}
_NOBODY |= LABELS.keys() | _PLAIN_WORDS
_NAMES = {  # what stands for a part of a layout's pattern
    "split": f"(?P<split>{'|'.join(SPLIT_WORDS)})",
    "identity": "(?P<identity>[^/]+?)",
    "person": "(?P<identity>(?-i:[A-Z][^/_]*(?:_[^/_]+)*_[A-Z][^/_]*))",
}


@remember
def _words(name: str) -> frozenset[str]:
    """Return the words of a folder's name: "0_real", "Real" and "REAL-faces" all hold "real"."""
    return frozenset(map(str.lower, re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)))


@remember
def folder_meaning(name: str) -> tuple[str | None, str | None]:
    """Return the label and the split that a folder's name states, None where it states none.

    Examples
    --------
    >>> [folder_meaning(name) for name in ("1_fake", "Validation", "train_real", "real_vs_fake")]
    [('fake', None), (None, 'valid'), ('real', 'train'), (None, None)]
    """
    words = _words(name)
    labels = words & LABELS.keys()
    # "training_real" is CIPLAB's name of all its photographs and states no split
    splits = {SPLIT_WORDS[word] for word in words & SPLIT_WORDS.keys() - (labels and {"training"})}
    if len(labels) > 1 or len(splits) > 1 or words - labels - SPLIT_WORDS.keys() - _PLAIN_WORDS:
        return None, None
    return next(iter(labels), None), next(iter(splits), None)


def folder_facts(path: str) -> dict:
    """Return label, source and split that the folders of a path state, None where they do not.

    The outermost folder that states a label or a split counts, so nothing below a folder of real
    images is fake. The source is the first folder below the label that states neither.

    Examples
    --------
    >>> folder_facts("Dataset/Train/Fake/midjourney/0.jpg")
    {'label': 'fake', 'source': 'midjourney', 'split': 'train'}
    """
    folders = path.split("/")[:-1]
    meanings = [folder_meaning(folder) for folder in folders]
    labels, splits = ([meaning[i] for meaning in meanings] for i in (0, 1))
    label = next(filter(None, labels), None)
    below = labels.index(label) + 1 if label else len(folders)
    sources = [folders[i] for i in range(below, len(folders)) if meanings[i] == (None, None)]
    split = next(filter(None, splits), None)
    return {"label": label, "source": next(iter(sources), None), "split": split}


@dataclass(frozen=True)
class Layout:
    """A pattern of paths and what the files that match it are; ``sources.toml`` explains it.

    Examples
    --------
    >>> layout = Layout("real-vs-fake/{split}/real/{identity}.jpg", "real", "ffhq")
    >>> layout.match("set/real-vs-fake/val/real/00012.jpg")["split"]
    'valid'
    """

    files: str
    label: str
    source: str
    split: str | None = None  # where neither the pattern nor a folder states it
    crop_share: float = 1.0

    def match(self, path: str, above: str = "") -> dict | None:
        """Return label, source, split, identity and crop_share of a path; None if it differs.

        Parameters
        ----------
        path : str
            Below the data folder, with forward slashes.
        above : str
            The folders above the data folder, where the pattern may begin. A label that one of
            them or a folder of `path` states excludes others, and so does a source that a folder
            before the pattern names.
        """
        found = self.expression.fullmatch(above + path)
        if found is None:
            return None
        parts, stated = found.groupdict(), folder_facts(path)
        label = stated["label"] or folder_facts(above)["label"] or self.label
        source = folder_facts(parts["before"][len(above) :])["source"] or self.source
        who = parts.get("identity")
        is_folder = who in (above + path).split("/")
        if label != self.label or self.source not in source.lower():
            return None
        if is_folder and (folder_meaning(who) != (None, None) or _words(who) & _NOBODY):
            return None  # "Fake/Fake_0001.jpg" looks like a person's folder
        split = SPLIT_WORDS.get((parts.get("split") or "").lower())
        return {
            "label": self.label,
            "source": self.source,
            "split": split or stated["split"] or self.split,
            "identity": who,
            "crop_share": self.crop_share,
        }

    @cached_property
    def expression(self) -> re.Pattern:
        """The pattern for whole paths with forward slashes."""
        files = self.files.format(**_NAMES)
        return re.compile(f"(?P<before>(?:.*/)?){files}", re.IGNORECASE)
