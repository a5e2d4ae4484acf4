"""The contract of a survey as tests that plugin packages inherit."""

from __future__ import annotations

__all__ = ["SurveyTests"]

import pytest

pytest.register_assert_rewrite("astrofm.testing.survey_tests", "astrofm.testing.compare")

from astrofm.testing.survey_tests import SurveyTests  # noqa: E402 - after its assertions are rewritten
