"""The Grad-CAM explorer: any model, any picture, and what the model goes by, answered at once.

`show` is what a notebook calls: controls where somebody can use them, and a figure of the same
(`static_grid`) in a headless run.

`live` holds the controls' behaviour, `controls` their names and places, `drop` the field for a
file, `strip` the row of small pictures, `engine` the computing, `rows` what is drawn and said of
it, `gallery` which pictures and models there are, `terms` what they hand to each other, `page` the
explorer as a page of its own, `twin` the figure.
"""

from ddlib.viz.explorer.live import Explorer
from ddlib.viz.explorer.twin import show, static_grid

__all__ = ["Explorer", "show", "static_grid"]
