"""`python -m gitmill`."""

from gitmill.cli.main import run

if __name__ == "__main__":
    run()
