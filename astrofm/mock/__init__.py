"""Sky models from which every mock survey is drawn, none of which knows a survey.

A survey package samples a source or a galaxy, renders it with its own beam, PSF, pixel scale and noise,
draws votes if it has volunteers, and wraps the arrays in its own archive format.
All of it is numpy and scipy. Images are ``(y, x)`` or ``(band, y, x)`` with North up (+y) and East left (-x),
centred on pixel ``(size_pix // 2, size_pix // 2)``, so that a FITS header has ``CRPIX = size_pix // 2 + 1``.
"""

from astrofm.mock.optical import Galaxy, render_galaxy, sample_galaxy, to_rgb
from astrofm.mock.radio import RadioSource, render_radio, sample_radio_source
from astrofm.mock.seeding import object_rng
from astrofm.mock.votes import draw_galaxy_votes, draw_vote_table, draw_votes, galaxy_answer_fractions

__all__ = [
    "Galaxy",
    "RadioSource",
    "draw_galaxy_votes",
    "draw_vote_table",
    "draw_votes",
    "galaxy_answer_fractions",
    "object_rng",
    "render_galaxy",
    "render_radio",
    "sample_galaxy",
    "sample_radio_source",
    "to_rgb",
]
