"""Suites of several processes: what they cost and gain beside one, and what a link between two machines allows.

`ranks` runs on one machine. `network` joins two network namespaces by a link whose rate is limited, one rank and one
thread on each side.
"""
import json
import pathlib
import statistics
import subprocess
import sys

from measure import comparison, in_turn, single, steady_median
from programs import BenchError, Concerto, run_process, toml_value
from skip import Skip

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "support"))
from two_machines import TwoMachines, obstacle  # noqa: E402

# The least that a strong run over a link can take is the longer of its computing and its bytes, were all of it overlapped.
# What a link carries is what its limit leaves after the headers of Ethernet, IP and TCP.
LINK_MEGABITS = 1000
PAYLOAD_SHARE = 0.9415


# The loopback device as bench_comm finds it, and what a message takes besides its bytes.
LOOPBACK_BYTES = 1.4e9
MESSAGE_SECONDS = 2e-4


def predicted(bench, data, settings, ranks_, rounds, link_bytes):
    """Seconds of an epoch as the cost model has them, from the time of one rank alone, which is measured now."""
    model = bench.concerto.program.with_name("bench_cluster_model")
    if not model.exists():
        raise Skip(f"{model} is not there: build with CONCERTO_BUILD_BENCH")
    alone = Concerto(bench.concerto.program, 1).train(bench.work / "ranks-alone", settings)[1]
    solver = "cholesky" if settings["solver.inner"] == "cholesky" else settings["solver.cg_steps"]
    told = run_process([model, "epoch", data, ranks_, rounds, settings["model.rank"], solver, epoch(alone), MESSAGE_SECONDS,
                        link_bytes])
    return float(told.output)


def settings_words(settings):
    return [word for key, value in settings.items() for word in ("--set", f"{key}={toml_value(value)}")]


def launch(bench, ranks, settings, folder):
    """Trains on this machine by so many ranks of one thread; returns (Finished, report)."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "bench.toml"
    config.write_text("# Every setting of this run is given on the command line.\n")
    everything = {"compute.threads": 1, "output.model": str(folder / "model"), "output.report": str(folder / "report.json"),
                  **settings}
    launcher = bench.concerto.program.with_name("concerto-launch")
    finished = run_process([launcher, "--nproc-per-node", ranks, "--", bench.concerto.program, "train", config,
                            *settings_words(everything)])
    return finished, json.loads((folder / "report.json").read_text())


def exact(data, epochs):
    return {"data.train": str(data), "model.rank": 64, "solver.kind": "als", "solver.inner": "cholesky",
            "solver.epochs": epochs, "evaluate.every": 0}


def epoch(report):
    return steady_median([one["seconds"] for one in report["epochs"]])


def sent_beside_least(report):
    replication = report["replication"]
    return statistics.median(replication["bytes_sent"]) / replication["least_bytes_per_epoch"]


def ranks(bench):
    """Two ranks beside one process of two threads, the share of time that a rank waits, bytes, and how soon many start."""
    if bench.threads != 2:
        raise Skip("two ranks are compared with one process of two threads: run it with --threads 2")
    rows = []
    small = exact(bench.plain("ml-1m/train.txt.gz"), 20)
    reports = [launch(bench, 2, {**small, "evaluate.every": 1}, bench.work / "ranks")[1] for _ in range(bench.rounds)]
    rows.append(single("1 - compute / wall time, 2 ranks x 1 thread, ml-1m, f=64, Cholesky", "share",
                       statistics.median(r["replication"]["waiting_share"] for r in reports), True,
                       samples=[r["replication"]["waiting_share"] for r in reports]))
    rows.append(single("bytes sent in an epoch / the least of a ring, 2 ranks, ml-1m, f=64", "times the least",
                       sent_beside_least(reports[-1]), True))
    large = exact(bench.synthetic(implicit=False), 4)
    a, b = in_turn(bench.rounds, lambda: epoch(launch(bench, 2, large, bench.work / "ranks")[1]),
                   lambda: epoch(bench.concerto.train(bench.work / "ranks-alone", large)[1]))
    whole = bench.work / "ranks-large"
    bench.concerto.run("prepare", large["data.train"], "--out", whole)
    model = predicted(bench, whole, large, 2, 16, LOOPBACK_BYTES)
    rows.append(single("the cost model's epoch / measured, 2 ranks x 1 thread, 9M entries, f=64, Cholesky", "times measured",
                       model / statistics.median(a), True))
    rows.append(comparison("2 ranks x 1 thread against 1 process x 2 threads, 9M entries, f=64, Cholesky, an epoch",
                           "seconds", a, b, True))
    a, b = in_turn(bench.rounds, lambda: epoch(launch(bench, 2, {**small, "compute.deterministic": True},
                                                      bench.work / "ranks")[1]),
                   lambda: epoch(launch(bench, 2, small, bench.work / "ranks")[1]))
    rows.append(comparison("deterministic = true against false, 2 ranks x 1 thread, ml-1m, f=64, Cholesky, an epoch",
                           "seconds", a, b, True))
    prepared = bench.work / "ranks-prepared"
    bench.concerto.run("prepare", bench.plain("ml-1m/train.txt.gz"), "--out", prepared)
    quick = {**exact(prepared, 1), "model.rank": 16}
    starts = [launch(bench, 16, quick, bench.work / "ranks")[0].seconds for _ in range(bench.rounds)]
    rows.append(single("start, one epoch and end of 16 ranks, prepared ml-1m, f=16, Cholesky", "seconds",
                       statistics.median(starts), True, samples=starts))
    return rows


def launch_on_two(bench, machines, settings, folder):
    """A launcher with one rank on each machine; returns the report."""
    folder.mkdir(parents=True, exist_ok=True)
    join = folder / "join"
    join.unlink(missing_ok=True)
    config = folder / "bench.toml"
    config.write_text("# Every setting of this run is given on the command line.\n")
    everything = {"compute.threads": 1, "cluster.network_interface": machines.INTERFACE,
                  "output.model": str(folder / "model"), "output.report": str(folder / "report.json"), **settings}
    launcher = bench.concerto.program.with_name("concerto-launch")
    processes = []
    for machine in (0, 1):
        words = [*machines.within(machine), launcher, "--nnodes", 2, "--node-rank", machine, "--rendezvous",
                 f"{machines.addresses[0]}:4711", "--join-file", join, "--nproc-per-node", 1, "--",
                 bench.concerto.program, "train", config, *settings_words(everything)]
        processes.append(subprocess.Popen([str(word) for word in words], text=True, stdin=subprocess.DEVNULL,
                                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE))
    said = [process.communicate()[1] for process in processes]
    if any(process.returncode != 0 for process in processes):
        raise BenchError("\n".join(said))
    return json.loads((folder / "report.json").read_text())


def channel(bench):
    """A channel over TLS on loopback against a bare stream of Asio and OpenSSL: frames of 256 KB, in turn."""
    program = bench.concerto.program.with_name("bench_channel")
    if not program.exists():
        raise Skip(f"{program} is not there: build with CONCERTO_BUILD_BENCH")
    rounds = json.loads(run_process([program, 2 * bench.rounds + 1]).output)
    return [comparison("channel over TLS, frames of 256 KB on loopback, against a bare Asio/TLS stream", "MB/s",
                       rounds["channel"], rounds["bare"], False, frames=rounds["frames"])]


def network(bench):
    """What runs of few, of balanced and of many bytes reach of a 1 Gbit/s link, beside the best overlap there can be."""
    why_not = obstacle()
    if why_not:
        raise Skip(why_not)
    link_bytes = LINK_MEGABITS * 1e6 / 8 * PAYLOAD_SHARE
    rows = []
    with TwoMachines() as machines:
        machines.limit_rate(LINK_MEGABITS)
        for name, entries, rank, steps in (("mostly bytes", 400_000, 256, 1), ("balanced", 3_000_000, 128, 2),
                                           ("mostly compute", 3_000_000, 64, 16)):
            settings = {"data.train": str(synthetic(bench, entries)), "model.rank": rank, "solver.kind": "als",
                        "solver.inner": "cg", "solver.cg_steps": steps, "solver.epochs": 6, "evaluate.every": 0}
            reports = [launch_on_two(bench, machines, settings, bench.work / "network") for _ in range(bench.rounds)]
            rows += beside_the_least(name, reports, link_bytes)
            model = predicted(bench, settings["data.train"], settings, 2, reports[-1]["replication"]["rounds"],
                              link_bytes)
            rows.append(single(f"1 Gbit/s between two namespaces, {name}: the cost model's epoch / measured",
                               "times measured", model / statistics.median(map(epoch, reports)), True))
    return rows


def synthetic(bench, entries):
    """60,000 x 12,000, prepared."""
    folder = bench.work / f"network-data-{entries}"
    if not (folder / "prepared").exists():
        bench.concerto.run("synth", "--users", 60_000, "--items", 12_000, "--entries", entries, "--rank", 16, "--seed", 1,
                           "--out", folder)
    bench.concerto.run("prepare", folder / "train.txt", "--out", folder / "prepared")
    return folder / "prepared"


def beside_the_least(name, reports, link_bytes):
    """Whole runs, the last epoch's measuring of the loss included on both sides."""
    runs = [report["replication"] for report in reports]
    bytes_seconds = [sum(run["bytes_sent"]) / link_bytes for run in runs]
    ratios = [run["seconds"] / max(run["compute_seconds"], sending) for run, sending in zip(runs, bytes_seconds)]
    facts = {"seconds": statistics.median(run["seconds"] for run in runs),
             "compute_seconds": statistics.median(run["compute_seconds"] for run in runs),
             "bytes_seconds": statistics.median(bytes_seconds), "link_bytes_per_second": link_bytes}
    rows = [single(f"1 Gbit/s between two namespaces, {name}: time / the longer of compute and bytes", "times the least",
                   statistics.median(ratios), True, samples=ratios, **facts)]
    if name == "mostly bytes":
        of_epochs = [statistics.median(report["replication"]["bytes_sent"]) / link_bytes / epoch(report)
                     for report in reports]
        of_runs = [sending / run["seconds"] for run, sending in zip(runs, bytes_seconds)]
        for what, samples in (("an epoch", of_epochs), ("a whole run", of_runs)):
            rows.append(single(f"1 Gbit/s between two namespaces: bytes of {what} / what the link carries in its time",
                               "share of the line rate", statistics.median(samples), False, samples=samples))
    return rows
