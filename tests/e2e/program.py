"""Runs the program `concerto` as a process in a scratch directory, for the end-to-end tests."""
import hashlib
import os
import pathlib
import subprocess
import tempfile
import unittest

PROGRAM = os.environ["CONCERTO"]
SOURCE = pathlib.Path(os.environ["CONCERTO_SOURCE"])
SECONDS = 300


class ProgramTest(unittest.TestCase):
    """A scratch directory and ways to run the program there."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="concerto_e2e_")
        self.addCleanup(scratch.cleanup)
        self.scratch = pathlib.Path(scratch.name)

    def call(self, *arguments, out=subprocess.PIPE):
        return subprocess.run([PROGRAM, *map(str, arguments)], cwd=self.scratch, text=True, stdout=out,
                              stderr=subprocess.PIPE, timeout=SECONDS, stdin=subprocess.DEVNULL)

    def run_well(self, *arguments):
        """Standard output of a call that must succeed."""
        finished = self.call(*arguments)
        self.assertEqual(finished.returncode, 0, finished.stderr)
        return finished.stdout

    def start(self, *arguments):
        process = subprocess.Popen([PROGRAM, *map(str, arguments)], cwd=self.scratch, text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()

    def write(self, name, text):
        path = self.scratch / name
        path.write_text(text)
        return path

    def names(self):
        """Every path below the scratch directory."""
        return sorted(str(path.relative_to(self.scratch)) for path in self.scratch.rglob("*"))

    def digests(self, folder, leave_out=("manifest.json",)):
        """File name -> digest; the manifest names the configuration and so differs between equal models."""
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted((self.scratch / folder).iterdir()) if path.name not in leave_out}


def settings(**tables):
    """settings(model={"rank": 4}) -> ["--set", "model.rank=4"]."""
    return [word for table, keys in tables.items() for key, value in keys.items()
            for word in ("--set", f"{table}.{key}={value}")]
