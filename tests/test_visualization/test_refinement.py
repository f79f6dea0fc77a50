"""Pictures of traces that are made by hand, read back pixel by pixel."""

import matplotlib
import numpy as np
import pytest
import torch

from mmground.models.heads.phrase_pixel_head import PhrasePixelHead
from mmground.models.heads.refinement_trace import RefinementTrace, RoundRecord
from mmground.structures import Geometry, GroundingDataSample
from mmground.visualization import (
    draw_response_maps,
    draw_sampling_points,
    draw_selected_points,
    missing_pictures,
    refinement,
)

GREY = 200
# What is drawn on is darker than the image.
BACKDROP = round(0.55 * GREY)


def plasma(value):
    return np.array(matplotlib.colormaps['plasma'](value)[:3]) * 255


def inferno(value):
    return np.array(matplotlib.colormaps['inferno'](value)[:3]) * 255


def make_trace(maps, rounds=(), phrase_index=(0, 0), text='a $red_1$ star', query='piece'):
    """A network input of 64 x 96 pixels that shows an image of half the size, then padding."""
    geometry = Geometry((32, 32), (64, 64), canvas_shape=(64, 96))
    sample = GroundingDataSample(
        metainfo=dict(sample_id='s', text=text, phrases=[dict(text=text)], geometry=geometry)
    )
    head = PhrasePixelHead(4, 4, 4, num_rounds=0, norm_cfg=dict(type='GN', num_groups=1))
    return RefinementTrace(
        sample, torch.tensor(phrase_index), maps, tuple(rounds), query, 0.5, head.predict_by_feat
    )


def image():
    return np.full((32, 32, 3), GREY, np.uint8)


def panel(picture, value, number):
    """One of the areas whose ground is a grey value, with its rows and columns."""
    ground = (picture == value).all(-1)
    columns = ground.mean(0) > 0.3
    edges = np.flatnonzero(np.diff(np.concatenate(([0], columns.astype(int), [0]))))
    start, stop = edges.reshape(-1, 2)[number]
    rows = np.flatnonzero(ground[:, start:stop].mean(1) > 0.3)
    return picture[rows[0] : rows[-1] + 1, start:stop]


def centre(area, color):
    """Mean place of a colour on a panel, xy in pixels of the image, and its share of the panel."""
    near = (np.abs(area - color) < 12).all(-1)
    rows, columns = np.nonzero(near)
    scale = 32 / np.array(area.shape[1::-1])
    return (np.array([columns.mean(), rows.mean()]) + 0.5) * scale, near.mean()


def test_response_maps():
    maps = torch.full((2, 2, 8, 12), -20.0)
    # After the round: the left half of the image. The left third of the canvas is that.
    maps[1, :, :, :4] = 20
    picture = draw_response_maps(image(), make_trace(maps, [RoundRecord()]), 0)
    assert picture.dtype == np.uint8 and picture.ndim == 3
    low, high = (0.4 * 0.9 * GREY + 0.6 * inferno(value) for value in (0.0, 1.0))
    first = panel(picture, np.trunc(low), 0)
    assert (np.abs(first - low) < 2).all(-1).mean() > 0.95
    is_high = (np.abs(picture - high) < 2).all(-1)
    rows, columns = np.nonzero(is_high)
    second_low = panel(picture, np.trunc(low), 1)
    # Side by side, of one height, and wide as the first panel together (but for the edge).
    assert rows.max() - rows.min() == pytest.approx(second_low.shape[0], abs=4)
    width = columns.max() - columns.min()
    assert width == pytest.approx(first.shape[1] / 2, rel=0.15)
    assert columns.max() < np.nonzero((picture == np.trunc(low)).all(-1))[1].max() - width * 0.8


def selected_round(weights=((0.75, 0.25), (0.75, 0.25))):
    """Both queries select the cells (1, 0), of the image, and (11, 7), of the padding; stride 8."""
    return RoundRecord(
        positions=torch.tensor([[1, 95], [1, 95]]),
        grid=(8, 12),
        weights=None if weights is None else torch.tensor(weights),
    )


def test_selected_points():
    trace = make_trace(torch.zeros(3, 2, 8, 12), [selected_round(), selected_round()])
    # In the second round: the cell (6, 5), lighter by weight than (2, 1).
    trace.rounds[1].positions = torch.tensor([[66, 14], [66, 14]])
    picture = draw_selected_points(image(), trace, 0)
    place, share = centre(panel(picture, BACKDROP, 0), plasma(1.0))
    np.testing.assert_allclose(place, (1.5 * 4, 0.5 * 4), atol=0.15)
    # A disc of 0.85 of a cell of 4 pixels.
    assert share == pytest.approx(np.pi / 4 * (0.85 * 4) ** 2 / 32**2, rel=0.15)
    second = panel(picture, BACKDROP, 1)
    np.testing.assert_allclose(centre(second, plasma(1.0))[0], (6.5 * 4, 5.5 * 4), atol=0.15)
    np.testing.assert_allclose(centre(second, plasma(1 / 3))[0], (2.5 * 4, 1.5 * 4), atol=0.15)


def test_selected_points_of_one_piece():
    trace = make_trace(torch.zeros(2, 2, 8, 12), [selected_round(((0.75, 0.25), (0.25, 0.75)))])
    trace.rounds[0].positions = torch.tensor([[1, 66], [1, 66]])
    area = panel(draw_selected_points(image(), trace, 0, query=1), BACKDROP, 0)
    np.testing.assert_allclose(centre(area, plasma(1.0))[0], (6.5 * 4, 5.5 * 4), atol=0.15)
    both = panel(draw_selected_points(image(), trace, 0), BACKDROP, 0)
    # Equal on average: both as light.
    expected = (np.array([1.5, 0.5]) + np.array([6.5, 5.5])) / 2 * 4
    np.testing.assert_allclose(centre(both, plasma(1.0))[0], expected, atol=0.15)


def test_points_without_weights_have_one_colour():
    trace = make_trace(torch.zeros(2, 2, 8, 12), [selected_round(None)])
    area = panel(draw_selected_points(image(), trace, 0), BACKDROP, 0)
    orange = np.array(matplotlib.colors.to_rgb('tab:orange')) * 255
    np.testing.assert_allclose(centre(area, orange)[0], (1.5 * 4, 0.5 * 4), atol=0.15)


def test_sampling_points():
    own = selected_round()
    # A level per column: (x, y) on the canvas; one head, two points.
    own.locations = torch.tensor([[[1 / 3, 0.25], [0.1, 0.9]], [[0.5, 0.5], [-1.0, 0.5]]])
    own.locations = own.locations.expand(2, 2, 1, 2, 2, 2)
    own.location_weights = torch.tensor([[0.4, 0.1], [0.3, 0.2]]).expand(2, 2, 1, 2, 2)
    own.levels = ((8, 12), (2, 3))
    trace = make_trace(torch.zeros(2, 2, 8, 12), [own])
    picture = draw_sampling_points(image(), trace, 0)
    first, second = (panel(picture, BACKDROP, number) for number in range(2))
    np.testing.assert_allclose(centre(first, plasma(1.0))[0], (16, 8), atol=0.3)
    np.testing.assert_allclose(centre(first, plasma(0.25))[0], (4.8, 28.8), atol=0.3)
    # One scale for all levels.
    np.testing.assert_allclose(centre(second, plasma(0.75))[0], (24, 16), atol=0.3)
    top = draw_sampling_points(image(), trace, 0, num=1)
    assert not (np.abs(panel(top, BACKDROP, 0) - plasma(0.25)) < 12).all(-1).any()


def test_titles_say_what_is_drawn(monkeypatch):
    titles = []
    original = matplotlib.axes.Axes.set_title
    monkeypatch.setattr(
        matplotlib.axes.Axes,
        'set_title',
        lambda axes, text, **kw: (titles.append(text), original(axes, text, **kw))[1],
    )
    headings = []
    figure_class = matplotlib.figure.Figure
    suptitle = figure_class.suptitle
    monkeypatch.setattr(
        figure_class,
        'suptitle',
        lambda figure, text, **kw: (headings.append(text), suptitle(figure, text, **kw))[1],
    )
    own = selected_round()
    trace = make_trace(torch.zeros(2, 2, 8, 12), [own])
    draw_selected_points(image(), trace, 0)
    assert titles[1].splitlines() == [
        'round 1',
        '2 pixels of stride 8',
        '1 of them outside the image',
        'largest weight 0.75',
    ]
    draw_selected_points(image(), trace, 0, query=1)
    draw_response_maps(image(), trace, 0)
    whole = make_trace(torch.zeros(2, 1, 8, 12), [own], phrase_index=(0,), query='phrase')
    draw_response_maps(image(), whole, 0)
    assert headings == [
        '1 "a $red_1$ star": selected pixels, all 2 pieces',
        '1 "a $red_1$ star": selected pixels, piece 2 of 2',
        '1 "a $red_1$ star": probability, pooled over its 2 pieces',
        '1 "a $red_1$ star": probability',
    ]


@pytest.mark.parametrize('shape', [(40, 400), (400, 40), (50, 50)])
@pytest.mark.parametrize('num_rounds', [0, 3, 7])
def test_titles_have_room(monkeypatch, shape, num_rounds):
    figures = []
    render = refinement.render_figure
    monkeypatch.setattr(
        refinement, 'render_figure', lambda figure: (figures.append(figure), render(figure))[1]
    )
    rounds = [selected_round()] * num_rounds
    text = 'a very long phrase that says $ and _ and \\frac{ ' * 5
    trace = make_trace(torch.randn(num_rounds + 1, 2, 8, 8), rounds, text=text)
    geometry = Geometry(shape, (64, 64), canvas_shape=(64, 64))
    trace.sample.set_metainfo(dict(geometry=geometry))
    ground = np.full((*shape, 3), GREY, np.uint8)
    pictures = [draw_response_maps(ground, trace, 0)]
    if num_rounds:
        pictures.append(draw_selected_points(ground, trace, 0, query=0))
    for figure, picture in zip(figures, pictures, strict=True):
        titles = [axes.title for axes in figure.axes if axes.get_title()]
        assert len(titles) >= num_rounds + 1
        boxes = [text.get_window_extent() for text in (*titles, figure._suptitle)]
        panels = [axes.get_window_extent() for axes in figure.axes]
        page = figure.bbox
        for index, box in enumerate(boxes):
            assert page.x0 <= box.x0 and box.x1 <= page.x1
            assert page.y0 <= box.y0 and box.y1 <= page.y1
            others = [*boxes[:index], *panels]
            assert not any(box.overlaps(other) for other in others)
        for edge in (picture[:5], picture[-5:], picture[:, :5], picture[:, -5:]):
            assert (edge == 255).all()


def test_mistakes():
    trace = make_trace(torch.zeros(2, 2, 8, 12), [RoundRecord()])
    for wrong in (image()[:16], image().astype(float), image()[..., 0]):
        with pytest.raises(ValueError, match=r"image of sample 's' must be RGB.*\(32, 32, 3\)"):
            draw_response_maps(wrong, trace, 0)
    with pytest.raises(ValueError, match='selects no pixels'):
        draw_selected_points(image(), trace, 0)
    with pytest.raises(ValueError, match='no deformable attention'):
        draw_sampling_points(image(), trace, 0)
    assert set(missing_pictures(trace)) == {'points', 'sampling'}
    no_rounds = make_trace(torch.zeros(1, 2, 8, 12))
    assert all('it has no rounds' in reason for reason in missing_pictures(no_rounds).values())
