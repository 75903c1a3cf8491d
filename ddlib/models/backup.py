"""What an interrupted training needs to go on where it was, kept in a folder after each epoch."""

from pathlib import Path

import keras
import numpy as np

from ddlib._io import read_json, write_json


class Backup:
    """The state of one training: weights, optimiser, history and the best weights so far.

    Keras's `BackupAndRestore` keeps the first two; it forgets which epoch was best, what the epochs
    before said and how far the random numbers of dropout have come. With these the result is that
    of a training which nothing interrupted.

    Parameters
    ----------
    folder : path
        Of this training alone; it need not exist.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.best, self._history = self.folder / "best.weights.h5", self.folder / "history.json"
        state = self.folder / "state" / "training_metadata.json"
        epoch = read_json(state)["epoch"] if state.is_file() else 0
        # the history is written first, so a kill may leave it one epoch ahead
        kept = read_json(self._history)[:epoch] if epoch else []
        self.rows = [each["row"] for each in kept]
        self._random = [each["random"] for each in kept]  # states of the generators

    def callbacks(self, stop: keras.callbacks.EarlyStopping, epochs) -> list:
        """Return the callbacks of `fit`; `stop` and `epochs` are told what was before."""
        epochs.rows.extend(self.rows)
        losses = [row["val_loss"] for row in self.rows]
        best = keras.callbacks.ModelCheckpoint(
            self.best,
            monitor="val_loss",
            save_best_only=True,
            save_weights_only=True,
            initial_value_threshold=min(losses, default=None),
        )

        def generators() -> list:
            return [v for v in stop.model.variables if v.path.endswith("seed_generator_state")]

        def replay(logs=None) -> None:
            for row in self.rows:
                stop.on_epoch_end(row["epoch"] - 1, row)
            if self._random:
                for generator, state in zip(generators(), self._random[-1], strict=True):
                    generator.assign(state)

        def keep_history(epoch, logs=None) -> None:
            self._random.append([np.array(generator).tolist() for generator in generators()])
            kept = zip(epochs.rows, self._random, strict=True)
            write_json(self._history, [{"row": row, "random": state} for row, state in kept])

        told = keras.callbacks.LambdaCallback(on_train_begin=replay, on_epoch_end=keep_history)
        state = keras.callbacks.BackupAndRestore(
            self.folder / "state", double_checkpoint=True, delete_checkpoint=False
        )
        return [stop, epochs, told, best, state]  # the state last: then the others are complete

    def has_stopped(self, patience: int) -> bool:
        """Return whether the loss had not fallen for so many epochs when it was interrupted."""
        losses = [row["val_loss"] for row in self.rows]
        return bool(losses) and len(losses) - 1 - losses.index(min(losses)) >= patience
