"""What is compared with what: each suite is a function from a Bench to rows of the result.

The settings here are those of the table in README.md. A suite whose peer or data is missing raises Skip with a line that
says what is missing; the runner prints it and goes on.
"""
import dataclasses
import gzip
import itertools
import json
import pathlib
import shutil

from cluster_suites import channel, network, ranks
from measure import comparison, in_turn, single, steady_median
from programs import Concerto, Libmf, NumpyJobs, epoch_seconds, run_process
from skip import Skip


@dataclasses.dataclass
class Bench:
    """What the suites work with: programs (None where not given), folders, and how often."""

    concerto: Concerto
    libmf: Libmf | None
    jobs: NumpyJobs | None
    data: pathlib.Path
    work: pathlib.Path
    rounds: int
    threads: int
    scale: float

    def need_libmf(self):
        if self.libmf is None:
            raise Skip("LIBMF is not there: give --libmf PATH of mf-train")
        return self.libmf

    def need_jobs(self, *modules):
        if self.jobs is None or not self.jobs.has("numpy", *modules):
            raise Skip(f"a Python with numpy {' '.join(modules)} is not there: give --peers-python PATH")
        return self.jobs

    def plain(self, name):
        """A data file, unpacked in the work folder (peers read plain text)."""
        source = self.data / name
        if not source.exists():
            raise Skip(f"data file {name} is not there: give --data FOLDER")
        if source.suffix != ".gz":
            return source
        unpacked = self.work / name.removesuffix(".gz").replace("/", "-")
        if not unpacked.exists():
            with gzip.open(source, "rb") as packed, open(unpacked, "wb") as out:
                shutil.copyfileobj(packed, out)
        return unpacked

    def synthetic(self, implicit):
        """About 9 million training entries, 100,000 x 10,000, Zipf popularity; made once."""
        kind = "implicit" if implicit else "explicit"
        folder = self.work / f"synthetic-{kind}-{self.scale:g}"
        if not (folder / "train.txt").exists():
            shutil.rmtree(folder, ignore_errors=True)
            counts = {"--users": int(100_000 * self.scale), "--items": int(10_000 * self.scale**0.5),
                      "--entries": int(10_060_000 * self.scale), "--rank": 16, "--seed": 1}
            words = [word for pair in counts.items() for word in pair]
            self.concerto.run("synth", *words, *(["--implicit"] if implicit else []), "--out", folder)
        return folder / "train.txt"


# What implicit is given, and Concerto alike: Hu, Koren and Volinsky's objective with c = alpha r and unscaled lambda.
IMPLICIT_OBJECTIVE = {"regularization": 60.0, "alpha": 4.0}


def als(bench):
    """Seconds of an ALS epoch against implicit's, exact and by 3 CG steps, f = 64 and 128; losses of both by us."""
    jobs = bench.need_jobs("scipy", "implicit")
    rows = []
    for data_name, path in (("ml-1m-rank", bench.plain("ml-1m-rank/train.txt.gz")),
                            ("synthetic 9M", bench.synthetic(implicit=True))):
        for cholesky, rank in itertools.product((False, True), (64, 128)):
            rows += als_pair(bench, jobs, data_name, path, cholesky, rank)
    return rows


def als_pair(bench, jobs, data_name, path, cholesky, rank):
    """Both programs on one data set, one inner solver and one rank: a row of seconds and a row of losses."""
    is_large = data_name != "ml-1m-rank"
    epochs = (3 if cholesky else 5) if is_large else 15
    rounds = max(1, bench.rounds // 2) if is_large else bench.rounds
    inner = "cholesky" if cholesky else "cg"
    cache = str(bench.work)
    ours_folder, theirs_folder = bench.work / "als-ours", bench.work / "als-theirs"
    settings = {
        "data.train": str(path), "model.objective": "implicit", "model.rank": rank, "model.confidence": "product",
        "model.alpha": IMPLICIT_OBJECTIVE["alpha"], "model.regularization": IMPLICIT_OBJECTIVE["regularization"],
        "model.regularization_exponent": 0.0, "solver.kind": "als", "solver.inner": inner, "solver.cg_steps": 3,
        "solver.epochs": epochs, "evaluate.every": 0,
        # Few epochs of much data get further from near zero, where implicit starts too.
        "model.init_stddev": 0.01 if is_large else 0.1}

    def ours():
        _, report = bench.concerto.train(ours_folder, settings)
        factors = bench.concerto.export_npy(ours_folder)
        loss = jobs.run("alpha_loss", data=str(path), cache=cache, factors=str(factors), **IMPLICIT_OBJECTIVE)["loss"]
        return steady_median(epoch_seconds(report)), loss

    def theirs():
        run = jobs.run("implicit_als", data=str(path), cache=cache, rank=rank, cholesky=cholesky, iterations=epochs,
                       threads=bench.threads, seed=1, out=str(theirs_folder), **IMPLICIT_OBJECTIVE)
        loss = jobs.run("alpha_loss", data=str(path), cache=cache, factors=str(theirs_folder), **IMPLICIT_OBJECTIVE)
        return steady_median(run["seconds"]), loss["loss"]

    a, b = in_turn(rounds, ours, theirs)
    name = f"ALS epoch, {inner}, f={rank}, {data_name}, against implicit"
    settings_note = {key: value for key, value in settings.items() if not key.startswith("data.")}
    return [comparison(name, "seconds", [s for s, _ in a], [s for s, _ in b], True, settings=settings_note),
            comparison(f"loss after {epochs} epochs of: {name}", "objective", [l for _, l in a], [l for _, l in b], True)]


# LIBMF's best settings on ml-1m by a grid picked on the test split, which favours LIBMF.
LIBMF_BEST = {64: {"l2": 0.05, "rate": 0.06, "iterations": 18}, 128: {"l2": 0.04, "rate": 0.03, "iterations": 30}}

# Concerto's settings for the speed of updates alone.
SGD_SETTINGS = {"model.objective": "explicit", "model.biases": False, "solver.kind": "sgd"}


def sgd(bench):
    """SGD updates a second, k = 64 and 128, against LIBMF: entries over the median seconds of an epoch."""
    libmf = bench.need_libmf()
    rows = []
    for data_name in ("ml-1m", "synthetic 9M"):
        path = bench.plain("ml-1m/train.txt.gz") if data_name == "ml-1m" else bench.synthetic(implicit=False)
        with open(path, "rb") as file:
            entries = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
        for rank in (64, 128):
            settings = {"data.train": str(path), "model.rank": rank, "solver.epochs": 12, "evaluate.every": 0,
                        "model.regularization": 0.05, "solver.learning_rate": 0.05, **SGD_SETTINGS}

            def ours():
                _, report = bench.concerto.train(bench.work / "sgd-ours", settings)
                return report["data"]["train_entries"] / steady_median(epoch_seconds(report)) / 1e6

            def theirs():
                run = libmf.train(path, bench.work / "libmf.model", rank, 0.05, 0.05, 13)
                return entries / steady_median(run.iteration_seconds) / 1e6

            a, b = in_turn(bench.rounds, ours, theirs)
            rows.append(comparison(f"SGD updates, k={rank}, {data_name}, against LIBMF", "million/s", a, b, False))
    return rows


# Settings that reach LIBMF's best RMSE at f = 64 in few epochs, chosen on a validation part of the training file
# (bench/grids/explicit-sgd-64-fast.toml).
FAST_SETTINGS = {"model.objective": "explicit", "model.rank": 64, "model.biases": True, "model.regularization": 0.37,
                 "model.regularization_exponent": 0.6, "model.init_stddev": 0.05, "solver.kind": "sgd",
                 "solver.learning_rate": 0.1, "solver.decay": 0.2, "solver.epochs": 8, "evaluate.every": 0}


def target(bench):
    """Time to LIBMF's best RMSE at f = 64 on ml-1m: process start to model written, and the training loop alone."""
    libmf, jobs = bench.need_libmf(), bench.need_jobs()
    train, test = bench.plain("ml-1m/train.txt.gz"), bench.plain("ml-1m/test.txt.gz")
    best = LIBMF_BEST[64]
    ours_folder, model = bench.work / "target-ours", bench.work / "libmf.model"

    def ours():
        finished, report = bench.concerto.train(ours_folder, {"data.train": str(train), **FAST_SETTINGS})
        factors = bench.concerto.export_npy(ours_folder)
        mean = report["data"].get("mean", report["final"].get("mean", 0.0))
        rmse = jobs.run("concerto_rmse", test=str(test), factors=str(factors), mean=mean)["rmse"]
        return finished.seconds, sum(epoch_seconds(report)), rmse

    def theirs():
        quiet = libmf.train(train, model, 64, best["l2"], best["rate"], best["iterations"], quiet=True)
        rmse = jobs.run("libmf_rmse", test=str(test), model=str(model))["rmse"]
        run = libmf.train(train, model, 64, best["l2"], best["rate"], best["iterations"])
        loop = sum(run.iteration_seconds) * best["iterations"] / len(run.iteration_seconds)
        return quiet.process.seconds, loop, rmse

    a, b = in_turn(bench.rounds, ours, theirs)
    names = ("process start to model written", "training loop alone", "RMSE reached")
    return [comparison(f"to LIBMF's best RMSE, f=64, ml-1m: {name}", "RMSE" if name == names[2] else "seconds",
                       [run[i] for run in a], [run[i] for run in b], True) for i, name in enumerate(names)]


def memory(bench):
    """Peak memory of training on 9 M entries, f = 64, as a multiple of both orientations and factors."""
    path = bench.synthetic(implicit=False)
    prepared = path.parent / "prepared"
    bench.concerto.run("prepare", path, "--out", prepared)  # anew: its format is that of this program
    rows = []
    for origin, data in (("text", path), ("prepared directory", prepared)):
        settings = {"data.train": str(data), "model.objective": "explicit", "model.rank": 64, "solver.kind": "als",
                    "solver.epochs": 2, "evaluate.every": 0}
        finished, report = bench.concerto.train(bench.work / "memory", settings)
        shape = report["data"]
        floor = (2 * shape["train_entries"] * 8 + 8 * (shape["users"] + shape["items"] + 2)
                 + 64 * 4 * (shape["users"] + shape["items"]))
        rows.append(single(f"peak memory of train from {origin}, 9M entries, f=64", "times (both orientations + factors)",
                           finished.peak_bytes / floor, True, peak_bytes=finished.peak_bytes, floor_bytes=floor,
                           limit=2 + 64 * 2**20 / floor))
    return rows


def sorted_text(bench):
    """The synthetic ratings in byte order, and their size in MB."""
    path = bench.synthetic(implicit=False)
    ordered = path.with_name("sorted.txt")
    if not ordered.exists():
        run_process(["sort", "-o", ordered, path], {"LC_ALL": "C"})
    return ordered, ordered.stat().st_size / 1e6


def read_speed(bench, ordered):
    """MB/s of lines to columns of ids and values, by one core."""
    kernels = bench.concerto.program.with_name("bench_kernels")
    if not kernels.exists():
        raise Skip(f"{kernels} is not there: build with CONCERTO_BUILD_BENCH")
    told = run_process([kernels, "--benchmark_filter=^read_text/threads:1/", "--benchmark_format=json"],
                       {"CONCERTO_BENCH_TEXT": str(ordered)}, cores=1)
    return json.loads(told.output)["benchmarks"][0]["bytes_per_second"] / 1e6


def reader(bench):
    """Text read by one core against `sort -c` of the same file, which compares neighbouring lines and parses nothing."""
    ordered, megabytes = sorted_text(bench)
    a, b = in_turn(bench.rounds, lambda: read_speed(bench, ordered),
                   lambda: megabytes / run_process(["sort", "-c", ordered], {"LC_ALL": "C"}, cores=1).seconds)
    return [comparison("text reader, one core, against `LC_ALL=C sort -c`", "MB/s", a, b, False)]


def pandas(bench):
    """The same against pandas' C parser, the usual way into Python's recommenders."""
    jobs = bench.need_jobs("pandas")
    ordered, megabytes = sorted_text(bench)
    a, b = in_turn(bench.rounds, lambda: read_speed(bench, ordered),
                   lambda: megabytes / jobs.run("read_csv", cores=1, path=str(ordered))["seconds"])
    return [comparison("text reader, one core, against pandas.read_csv", "MB/s", a, b, False)]


SUITES = {suite.__name__: suite for suite in (als, sgd, target, memory, reader, pandas, ranks, network, channel)}
