"""The survey ``gz-evo`` keeps the contract of every survey."""

from astrofm.testing import SurveyTests


class TestGalaxyZooEvo(SurveyTests):
    survey = "gz-evo"
