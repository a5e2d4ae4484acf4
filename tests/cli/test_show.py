"""What is printed: text stays text, whatever rich would make of it."""

from astrofm.cli import show
from astrofm.cli.show import table


def test_names_in_brackets_are_printed_as_they_are(capsys):
    table("Survey [x-ray]", ("fact", "value"), [["path", "stores/[/deep].zarr"], ["note", "[bold]"]])
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("Survey [x-ray]", "stores/[/deep].zarr", "[bold]"))


def test_a_batch_job_hears_of_progress_now_and_then_on_stderr(capsys, monkeypatch):
    now = iter([0.0, 10.0, 31.0, 31.0, 40.0])
    monkeypatch.setattr(show.time, "monotonic", lambda: next(now))
    with show.progress() as listener:
        for done in (1, 2, 3):
            listener(done, 40, "finetune from random weights")
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "finetune from random weights: 2/40\n"
