"""``python -m astrofm`` is the ``astrofm`` command."""

from astrofm.cli.main import run

if __name__ == "__main__":
    run()
