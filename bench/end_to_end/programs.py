"""Starts the programs that are compared and measures them from outside: wall time, peak memory, times of output lines.

It knows how Concerto and its peers are called and what they print; what is compared with what, the suites decide.
"""
import dataclasses
import json
import os
import pathlib
import subprocess
import tempfile
import time


class BenchError(Exception):
    """A program failed, or said something that cannot be read."""


def require_program(path):
    """Raises BenchError unless `path` is a program."""
    if not os.access(path, os.X_OK) or pathlib.Path(path).is_dir():
        raise BenchError(f"{path} is not a program")


@dataclasses.dataclass
class Finished:
    """What a process did. Seconds run from before its start to after its end; bytes are its largest resident set."""

    seconds: float
    peak_bytes: int
    output: str
    line_times: list


def run_process(command, environment=None, cores=None):
    """Runs a command to its end. Raises BenchError with its last lines when it fails.

    `cores`: how many processors it may use, counted from the first one this process may use; None for all.
    """
    pin = None
    if cores is not None:
        allowed = sorted(os.sched_getaffinity(0))[:cores]
        pin = lambda: os.sched_setaffinity(0, allowed)  # noqa: E731
    variables = {**os.environ, **(environment or {})}
    lines, times = [], []
    begin = time.monotonic()
    with tempfile.TemporaryFile(mode="w+") as errors:
        process = subprocess.Popen([str(word) for word in command], env=variables, preexec_fn=pin, text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
        for line in process.stdout:
            times.append(time.monotonic() - begin)
            lines.append(line.rstrip("\n"))
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begin
        process.returncode = os.waitstatus_to_exitcode(status)
        process.stdout.close()
        if process.returncode != 0:
            errors.seek(0)
            said = "\n".join(lines[-5:] + errors.read().splitlines()[-5:])
            raise BenchError(f"{' '.join(map(str, command))}: exit status {process.returncode}\n{said}")
    return Finished(seconds, usage.ru_maxrss * 1024, "\n".join(lines), times)


class Concerto:
    """The program `concerto`, its training runs and what its reports say."""

    def __init__(self, program, threads):
        self.program = pathlib.Path(program)
        self.threads = threads

    def run(self, *arguments, cores=None):
        return run_process([self.program, *arguments], cores=cores)

    def train(self, folder, settings, config=None):
        """Trains with {"table.key": value}; returns (Finished, report). Model and report are in `folder`."""
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        if config is None:
            config = folder / "bench.toml"
            config.write_text("# Every setting of this run is given on the command line.\n")
        report = folder / "report.json"
        report.unlink(missing_ok=True)
        everything = {"compute.threads": self.threads, "output.model": str(folder / "model"),
                      "output.report": str(report), **settings}
        words = [word for key, value in everything.items() for word in ("--set", f"{key}={toml_value(value)}")]
        finished = self.run("train", config, *words)
        return finished, json.loads(report.read_text())

    def export_npy(self, folder):
        """Writes users.npy and items.npy of the model that `train` left in `folder`; returns where they are."""
        out = pathlib.Path(folder) / "exported"
        self.run("export", pathlib.Path(folder) / "model", "--format", "npy", "--out", out)
        return out


def toml_value(value):
    """A value as TOML text; strings, numbers, booleans and lists of them are JSON alike. None: back to the default."""
    return "" if value is None else json.dumps(value)


def epoch_seconds(report):
    """Training seconds of each epoch of a Concerto report, evaluation left out."""
    return [epoch["seconds"] for epoch in report["epochs"]]


@dataclasses.dataclass
class LibmfRun:
    """One run of mf-train: the process, and its iterations as told by the times of its lines."""

    process: Finished
    iteration_seconds: list


class Libmf:
    """LIBMF's mf-train. Build it from its own sources with AVX on (its Makefile says how)."""

    def __init__(self, program, threads):
        self.program = pathlib.Path(program)
        self.threads = threads

    def train(self, data, model, rank, l2, rate, iterations, quiet=False):
        """Not quiet, it prints a line an iteration and sums the regularization for it (a percent or two); the first
        interval is lost with the header, so there is one interval less than iterations."""
        command = [self.program, "-f", 0, "-k", rank, "-l2", l2, "-r", rate, "-t", iterations, "-s", self.threads]
        finished = run_process(command + (["--quiet"] if quiet else []) + [data, model])
        numbered = [at for at, line in zip(finished.line_times, finished.output.split("\n"))
                    if line.split()[:1] and line.split()[0].isdigit()]
        return LibmfRun(finished, [after - before for before, after in zip(numbered, numbered[1:])])


class NumpyJobs:
    """Jobs that need NumPy, SciPy or implicit, run by a Python that has them (numpy_jobs.py)."""

    def __init__(self, python, threads):
        self.python = python
        self.threads = threads

    def run(self, job, cores=None, **arguments):
        script = pathlib.Path(__file__).with_name("numpy_jobs.py")
        # implicit asks for one BLAS thread: it runs its own threads around BLAS calls.
        environment = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": str(self.threads)}
        finished = run_process([self.python, script, job, json.dumps(arguments)], environment, cores)
        return json.loads(finished.output.split("\n")[-1])

    def has(self, *modules):
        try:
            run_process([self.python, "-c", "import " + ", ".join(modules)])
        except (BenchError, OSError):
            return False
        return True
