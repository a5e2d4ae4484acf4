"""Signals: the first is noted, a second ends the process, and a stop that others asked for counts for neither."""

import subprocess
import sys

import pytest

SCRIPT = """
import os, signal
from astrofm.interruption import SignalWatch

with SignalWatch() as watch:
    watch.watch_all()
    if {agreed}:
        watch.agreed = signal.SIGTERM
    for number in range({signals}):
        os.kill(os.getpid(), signal.SIGTERM)
        print("alive", watch.received == signal.SIGTERM, flush=True)
"""


@pytest.mark.parametrize(("agreed", "signals", "code"), [(False, 1, 0), (True, 1, 0), (False, 2, 143), (True, 2, 143)])
def test_the_first_signal_that_reaches_a_process_never_ends_it(agreed, signals, code):
    script = SCRIPT.format(agreed=agreed, signals=signals)
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == code, ended.stderr
    assert ended.stdout == "alive True\n"
