from pathlib import Path

import numpy as np
from matplotlib.figure import Figure


def save_recall_curves(
    curves: dict[str, np.ndarray], thresholds: np.ndarray, path: str | Path, title: str = ''
) -> None:
    """Write recall curves as a table and as a picture.

    ``path.csv`` has a column ``threshold`` and one column per curve. ``path.png`` shows
    recall over threshold. Existing files are replaced; folders are made.

    Args:
        curves: Recall in [0, 1] by name, each of shape (T, ). A curve that is all NaN
            (no phrases) is written to the table and left out of the picture.
        thresholds: IoU thresholds, shape (T, ).
        path: Path of both files, without the suffix.
        title: Title of the picture.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savetxt(
        f'{path}.csv',
        np.column_stack((thresholds, *curves.values())),
        fmt='%.6g',
        delimiter=',',
        header=','.join(('threshold', *curves)),
        comments='',
    )
    # Drawn without pyplot: no global state and no display are touched.
    figure = Figure(figsize=(5, 4), layout='constrained')
    axes = figure.add_subplot(
        xlabel='IoU threshold', ylabel='recall', xlim=(0, 1), ylim=(0, 1), title=title
    )
    for name, recall in curves.items():
        if not np.isnan(recall).all():
            axes.plot(thresholds, recall, label=name)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend()
    figure.savefig(f'{path}.png', dpi=150)
