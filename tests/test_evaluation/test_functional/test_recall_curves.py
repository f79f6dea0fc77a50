import cv2
import numpy as np

from mmground.evaluation.functional import save_recall_curves


def test_writes_data_and_plot(tmp_path):
    thresholds = np.linspace(0, 1, 5)
    curves = {'all': np.linspace(1, 0, 5), 'stuff': np.full(5, np.nan)}
    path = tmp_path / 'new' / 'recall.v1'
    save_recall_curves(curves, thresholds, path, title='a title')
    assert {file.name for file in path.parent.iterdir()} == {'recall.v1.csv', 'recall.v1.png'}
    header, *rows = (path.parent / 'recall.v1.csv').read_text().splitlines()
    assert header == 'threshold,all,stuff'
    np.testing.assert_allclose(
        np.array([row.split(',') for row in rows], dtype=float),
        np.column_stack((thresholds, *curves.values())),
        atol=1e-6,
    )
    assert np.ptp(cv2.imread(f'{path}.png')) > 0


def test_plot_without_any_phrase(tmp_path):
    save_recall_curves({'all': np.full(2, np.nan)}, np.array([0.0, 1.0]), tmp_path / 'recall')
    assert (tmp_path / 'recall.png').exists()
