"""Runs the program `concerto-launch` as a process in a scratch directory, for the end-to-end tests."""
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import unittest

LAUNCHER = os.environ["CONCERTO_LAUNCH"]
PROGRAM = os.environ["CONCERTO"]
SOURCE = pathlib.Path(os.environ["CONCERTO_SOURCE"])
SECONDS = 120

# Tests may themselves run as part of a job.
FOREIGN = ("SLURM_", "CONCERTO_", "JOB_COMPLETION_INDEX", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "ENVIRONMENT")


def clean_environment(**more):
    return {**{name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}, **more}


def is_alive(process):
    """Whether there is a process of this number that is not a zombie."""
    try:
        return pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2][0] not in "ZX"
    except (OSError, IndexError):
        return False


def children_of(process):
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "stat").read_text().rpartition(") ")[2].split()[1] == str(process):
                    found.append(int(entry.name))
            except OSError:
                pass
    return found


class LaunchingTest(unittest.TestCase):
    """A scratch directory, ways to run the launcher there, and the end of everything that was started."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory(prefix="concerto_launch_")
        self.addCleanup(scratch.cleanup)
        self.scratch = pathlib.Path(scratch.name)

    def launch(self, *arguments, environment=None, seconds=SECONDS):
        """Runs the launcher to its end."""
        return subprocess.run([LAUNCHER, *map(str, arguments)], cwd=self.scratch, text=True, stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=seconds, env=environment or clean_environment())

    def launch_shell(self, ranks, script, *options, environment=None):
        """With this shell script as each rank."""
        return self.launch("--nproc-per-node", ranks, *options, "--", "sh", "-c", script, environment=environment)

    def start(self, *arguments, out=subprocess.PIPE, environment=None):
        process = subprocess.Popen([LAUNCHER, *map(str, arguments)], cwd=self.scratch, text=True,
                                   stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE,
                                   env=environment or clean_environment())
        self.addCleanup(self.end, process)
        return process

    @staticmethod
    def end(process):
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGKILL)
        process.wait()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()

    def await_that(self, condition, what):
        """Looks again and again; for what has no event to wait for."""
        until = time.monotonic() + SECONDS
        while not condition():
            self.assertLess(time.monotonic(), until, f"waited in vain for {what}")
            time.sleep(0.02)

    def await_files(self, *names):
        """The numbers in these files, which ranks write with a newline at the end."""
        paths = [self.scratch / name for name in names]
        self.await_that(lambda: all(path.exists() and path.read_text().endswith("\n") for path in paths), names)
        return [int(path.read_text()) for path in paths]

    def assert_gone(self, *processes):
        for process in processes:
            self.await_that(lambda: not is_alive(process), f"the end of process {process}")
