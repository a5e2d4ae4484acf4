"""The survey ``sdss-mgs`` keeps the contract of every survey."""

from astrofm.testing import SurveyTests


class TestSDSSMainGalaxies(SurveyTests):
    survey = "sdss-mgs"
