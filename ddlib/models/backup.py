"""What an interrupted training needs to go on where it was, kept in a file after each epoch."""

import json
from pathlib import Path

import keras
import numpy as np

from ddlib._utils import atomic_write


class Backup(keras.callbacks.Callback):
    """The state of one training: weights, optimiser, history and the best weights so far.

    Keras's `BackupAndRestore` keeps the first two; it forgets which epoch was best, what the epochs
    before said and how far the random numbers of dropout have come. With these the result is that
    of a training which nothing interrupted.

    Parameters
    ----------
    path : path
        A file (.npz) of this training alone; it need not exist.

    Its ``rows`` are those of the history so far, ``first_epoch`` (from 0) is what comes next. `fit`
    sets ``stop`` and ``history``, its callbacks that come before this one.
    """

    def __init__(self, path: Path):
        super().__init__()
        self.path, self._arrays = Path(path), []
        self.first_epoch, self.rows = 0, []
        if self.path.is_file():
            with np.load(self.path) as kept:
                progress, *self._arrays = kept.values()
            self.first_epoch, self.rows = json.loads(str(progress))

    def on_train_begin(self, logs=None):
        """Set everything as it was after the last epoch that was kept."""
        if not self.rows:
            return
        variables = self._variables()
        for variable, value in zip(variables, self._arrays, strict=False):  # the best come after
            variable.assign(value)
        self.history.rows.extend(self.rows)
        losses = [row["val_loss"] for row in self.rows]
        self.stop.best = min(losses)
        self.stop.best_epoch = losses.index(self.stop.best)
        self.stop.wait = len(losses) - 1 - self.stop.best_epoch
        self.stop.best_weights = self._arrays[len(variables) :]

    def on_epoch_end(self, epoch, logs=None):
        """Keep everything in place of what was kept before."""
        following = self.params["epochs"] if self.model.stop_training else epoch + 1
        progress = np.array(json.dumps([following, self.history.rows]))
        values = [variable.numpy() for variable in self._variables()]
        with atomic_write(self.path) as unfinished:
            np.savez(unfinished, progress, *values, *self.stop.best_weights)

    def _variables(self) -> list:
        return [*self.model.variables, *self.model.optimizer.variables]
