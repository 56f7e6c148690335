"""What the black-box tests of the `orrery` binary share: run it, and look at exit code, stdout and stderr.

Each test_*.py is run by CTest as `python3 test_<name>.py path/to/orrery`.
"""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
ORRERY = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/release/orrery").resolve()

OK, SLO_MISSED, USAGE, BAD_INPUT, NO_DEVICE, INFEASIBLE, INTERNAL = 0, 1, 2, 3, 4, 5, 70

# A question that takes milliseconds.
SMALL = ["run", "-m", "llama-3.1-8b", "-g", "h100-sxm", "--num-prompts", "40", "--random-input-len", "256",
         "--random-output-len", "32", "--request-rate", "20"]


def environment():
    env = {k: v for k, v in os.environ.items() if not k.startswith("ORRERY_") or k == "ORRERY_DATA"}
    return env | {"NO_COLOR": "1", "LC_ALL": "C.UTF-8"}


class Case(unittest.TestCase):
    """A test in a temporary working folder of its own."""

    maxDiff = None

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def run_orrery(self, *args, timeout=120, **options):
        """All output must be UTF-8, whatever was in the input."""
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        return subprocess.run([str(ORRERY), *map(str, args)], cwd=self.folder, env=environment(), encoding="utf-8",
                              timeout=timeout, check=False, **options)

    def succeed(self, *args, **options):
        run = self.run_orrery(*args, **options)
        self.assertEqual(run.returncode, OK, f"{' '.join(map(str, args))}\n{run.stdout}{run.stderr}")
        return run

    def refuse(self, code, *args, says=(), **options):
        """The command fails with `code` and one error on stderr that holds every phrase of `says`."""
        run = self.run_orrery(*args, **options)
        said = f"{' '.join(map(str, args))}\n{run.stdout}{run.stderr}"
        self.assertEqual(run.returncode, code, said)
        self.assertEqual(run.stderr.count("error: "), 1, said)
        self.assertIn(f"[exit {code}]", run.stderr, said)
        for phrase in says:
            self.assertIn(phrase, run.stderr, said)
        return run

    def write(self, name, text):
        path = self.folder / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path


def main():
    unittest.main(argv=[sys.argv[0]], verbosity=1)
