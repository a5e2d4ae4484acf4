"""The sheet of views as a picture: what is where, and in which colour."""

from io import BytesIO

import numpy as np
from PIL import Image

from astrofm.report.view_picture import Block, Facts, SheetRow, draw_sheet

MAGENTA = (255, 0, 255)
COUNTS = np.array([9, 0, 1])


def sheet_of(pictures, *, colormap="gray", lines=("under the title",), title="row"):
    rows = [SheetRow(title, "survey", np.asarray(pictures, dtype=np.float32), (1.0, 3.0), colormap)]
    block = Block("block", [f"column {number}" for number in range(len(pictures))], rows)
    png = draw_sheet("title", lines, [block], [Facts(["a survey"], COUNTS, (0.0, 3.0))])
    return np.asarray(Image.open(BytesIO(png)).convert("RGB")).astype(int)


def flat(value, num_channels=1):
    return np.full((num_channels, 6, 6), value)


def share_of(colour, pixels):
    return (pixels == np.array(colour)).all(axis=-1).mean()


def test_what_is_not_a_number_is_magenta_and_nothing_else_is():
    assert share_of(MAGENTA, sheet_of([flat(2.0), flat(3.0)])) == 0
    one_of_two = share_of(MAGENTA, sheet_of([flat(2.0), flat(np.nan)]))
    assert one_of_two > 0
    assert share_of(MAGENTA, sheet_of([flat(np.nan), flat(np.nan)])) == 2 * one_of_two


def test_values_are_shown_between_the_limits_and_clipped_beyond():
    pixels = sheet_of([flat(-5.0), flat(1.0), flat(2.0), flat(3.0), flat(9.0)])
    block = pixels[:, 16 + 190 :]
    greys = [block[:, number * 116 + 56] for number in range(5)]
    # A white picture is not told from the paper, a half-way one has one grey that no letter has.
    assert [(column == 0).all(axis=1).sum() > 100 for column in greys] == [True, True, False, False, False]
    assert (greys[2] == 128).all(axis=1).sum() == 112


def test_the_last_row_of_an_image_is_on_top():
    rising = np.broadcast_to(np.linspace(1.0, 3.0, 12)[:, None], (12, 12))[None]
    pixels = sheet_of([rising])
    column = pixels[:, 16 + 190 + 56, 0]
    picture = column[np.flatnonzero(column < 100)[0] - 70 :][:112] if column.min() < 100 else column
    assert (np.diff(picture.astype(int)) <= 0).mean() > 0.9


def test_three_channels_are_red_green_and_blue():
    coloured = np.stack([flat(3.0)[0], flat(1.0)[0], flat(2.0)[0]])
    assert share_of((255, 0, 128), sheet_of([coloured])) == share_of(MAGENTA, sheet_of([flat(np.nan)]))


def test_long_lines_are_broken_and_make_the_sheet_longer_not_wider():
    short, long = sheet_of([flat(2.0)]), sheet_of([flat(2.0)], lines=["many words " * 60, "x" * 400])
    assert long.shape[1] == short.shape[1]
    assert long.shape[0] > short.shape[0] + 4 * 17
    assert (long[:, -14:] == 255).all()
