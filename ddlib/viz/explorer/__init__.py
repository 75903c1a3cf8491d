"""The Grad-CAM explorer: any model, any picture, and what the model goes by, answered at once.

`gallery` finds models and pictures, `render` computes what a `State` shows, as `panels`; `controls`
are the widgets, and `explorer` connects them.
"""

from ddlib.viz.explorer.explorer import Explorer
