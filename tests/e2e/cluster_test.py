#!/usr/bin/env python3
"""Training by several processes: one model whatever their number, and failures that name the rank to blame."""
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import time
import unittest

from launching import PROGRAM, LaunchingTest, children_of, clean_environment

CONFIG = """
[data]
train = "data/train"
test = "data/train"

[model]
objective = "{objective}"
rank = 12
regularization = 0.05

[solver]
kind = "{kind}"
inner = "cholesky"
momentum = {momentum}
slice = 5
epochs = {epochs}

[compute]
backend = "cpu"
threads = 1
deterministic = true

[cluster]
heartbeat_ms = 500
dead_after_ms = 5000

[output]
model = "model"
report = "report.json"
"""


class ClusterTest(LaunchingTest):
    def setUp(self):
        super().setUp()
        (self.scratch / "data").mkdir()
        self.run_well("synth", "--users", 900, "--items", 400, "--entries", 20000, "--rank", 4, "--out", "synthetic")
        self.run_well("prepare", "synthetic/train.txt", "--test", "synthetic/test.txt", "--out", "data/train")

    def run_well(self, *arguments):
        finished = subprocess.run([PROGRAM, *map(str, arguments)], cwd=self.scratch, text=True, capture_output=True,
                                  timeout=60, env=clean_environment())
        self.assertEqual(finished.returncode, 0, finished.stderr)

    def configure(self, epochs=3, kind="als", objective="explicit", momentum=0.0):
        (self.scratch / "run.toml").write_text(CONFIG.format(epochs=epochs, kind=kind, objective=objective,
                                                             momentum=momentum))

    def train(self, ranks, *options):
        return self.launch("--nproc-per-node", ranks, "--", PROGRAM, "train", "run.toml", *options)

    def files_of_model(self):
        """All files of the model, the manifest with its checksums of pieces among them."""
        return {path.name: path.read_bytes() for path in (self.scratch / "model").iterdir()}

    def assert_same_factors(self, files, expected):
        """But for the manifest, which holds the configuration."""
        self.assertEqual(files.keys(), expected.keys())
        for name in expected.keys() - {"manifest.json"}:
            self.assertEqual(files[name], expected[name], name)

    def test_any_number_of_ranks_writes_the_model_of_one_process(self):
        for kind, objective, momentum in (("als", "explicit", 0.0), ("als", "implicit", 0.0), ("als", "explicit", 0.3),
                                          ("subspace", "explicit", 0.0)):
            self.configure(kind=kind, objective=objective, momentum=momentum)
            self.run_well("train", "run.toml")
            expected = self.files_of_model()
            self.assertGreaterEqual(len(expected), 5)
            popularity = json.loads((self.scratch / "report.json").read_text())["final"]["popularity"]
            for ranks in (1, 2, 3, 4):
                with self.subTest(kind=kind, objective=objective, momentum=momentum, ranks=ranks):
                    finished = self.train(ranks)
                    self.assertEqual(finished.returncode, 0, finished.stderr)
                    self.assertEqual(self.files_of_model(), expected)
                    self.assertIn(f"its rows by {ranks} of {ranks} ranks", finished.stderr)
                    report = json.loads((self.scratch / "report.json").read_text())
                    replication = report["replication"]
                    for name, value in popularity.items():
                        self.assertAlmostEqual(report["final"]["popularity"][name], value, places=12)
                    self.assertEqual((replication["ranks"], replication["level"]), (ranks, "strong"))
                    self.assertEqual(replication["schedule"], "alternating")
                    # Over loopback nothing leaves the machine.
                    self.assertEqual((replication["encrypted"], replication["links_in_the_clear"]), (True, []))

    def test_channels_write_the_model_that_gloo_writes(self):
        for kind in ("als", "sgd"):
            self.configure(kind=kind)
            models = {}
            for collectives, plain in (("gloo", "false"), ("channel", "false"), ("channel", "true")):
                finished = self.train(2, "--set", f"cluster.collectives={collectives}", "--set",
                                      f"security.plain_channel={plain}")
                self.assertEqual(finished.returncode, 0, finished.stderr)
                self.assertIn(f"{collectives} connects them", finished.stderr)
                self.assertEqual("is NOT encrypted" in finished.stderr, plain == "true", finished.stderr)
                replication = json.loads((self.scratch / "report.json").read_text())["replication"]
                self.assertEqual((replication["collectives"], replication["encrypted"]), (collectives, True))
                models[collectives, plain] = self.files_of_model()
            for files in models.values():
                self.assert_same_factors(files, models["gloo", "false"])

    def start_relay(self, target):
        """The relay before a port of this machine, and the port at which it listens."""
        relay = subprocess.Popen([pathlib.Path(PROGRAM).with_name("relay"), "--seed", "1", f"127.0.0.1:0=127.0.0.1:{target}"],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(relay.stdout.close)
        self.addCleanup(relay.wait, 30)
        self.addCleanup(relay.stdin.close)  # which ends it
        return relay, int(relay.stdout.readline().rsplit(":", 1)[1])

    @staticmethod
    def command(relay, words):
        relay.stdin.write(words + "\n")
        relay.stdin.flush()
        return relay.stdout.readline().strip()

    def free_ports(self, count):
        """The first of so many free ports in a row."""
        for first in range(20000 + os.getpid() % 10000, 50000, count):
            with contextlib.ExitStack() as taken:
                try:
                    for port in range(first, first + count):
                        taken.enter_context(socket.create_server(("127.0.0.1", port)))
                    return first
                except OSError:
                    continue
        self.fail("no free ports")

    def test_ranks_reach_each_other_through_a_relay_and_a_cut_ends_the_run(self):
        self.configure()
        self.run_well("train", "run.toml")
        expected = self.files_of_model()
        port = self.free_ports(2)
        relay, reached_at = self.start_relay(port)
        self.assertEqual(self.command(relay, "both delay_ms=2 jitter_ms=1 rate_mbit=200"), "ok")
        options = ["--set", "cluster.collectives=channel", "--set", f"cluster.channel_port={port}", "--set",
                   f"cluster.channel_reached_at=127.0.0.1:{reached_at}"]
        finished = self.train(2, *options)
        self.assertEqual(finished.returncode, 0, finished.stderr)
        self.assert_same_factors(self.files_of_model(), expected)
        connections, up, down = map(int, self.command(relay, "counts").split()[1::2])
        self.assertEqual(connections, 1)
        self.assertGreater(min(up, down), 40_000)  # of 1,300 rows in three epochs, half of them from each rank
        self.assertEqual(self.command(relay, "cut"), "ok")
        finished = self.train(2, *options, "--set", "cluster.meet_limit_ms=3000")
        self.assertNotEqual(finished.returncode, 0)
        self.assertRegex(finished.stderr, r"no connection with rank [01] in time")

    def test_sgd_rotates_over_ranks_with_the_quality_of_one_process(self):
        self.configure(kind="sgd", epochs=20)
        options = ("--set", "model.biases=true", "--set", "evaluate.metrics=[\"rmse\"]", "--set",
                   "data.test=synthetic/test.txt")
        self.run_well("train", "run.toml", *options)
        report = self.scratch / "report.json"
        alone = json.loads(report.read_text())["final"]["metrics"]["rmse"]
        for ranks in (1, 2, 3, 4):
            with self.subTest(ranks=ranks):
                finished = self.train(ranks, *options)
                self.assertEqual(finished.returncode, 0, finished.stderr)
                written = json.loads(report.read_text())
                self.assertLess(abs(written["final"]["metrics"]["rmse"] / alone - 1), 0.02)
                replication = written["replication"]
                self.assertEqual((replication["schedule"], replication["rounds"]), ("rotating", 2 * ranks))
                self.assertIn(f"{ranks} strata of 2 parts", replication["collective"])
                self.assertEqual(replication["least_bytes_per_epoch"], 2 * (400 * 14 * 4 * (ranks - 1) // ranks))
                expected = self.files_of_model()
                again = self.train(ranks, *options, "--set", "compute.threads=2")
                self.assertEqual(again.returncode, 0, again.stderr)
                self.assert_same_factors(self.files_of_model(), expected)

    def test_partials_of_items_are_gathered_where_they_are_fewer_bytes(self):
        self.run_well("synth", "--users", 20000, "--items", 60, "--entries", 120000, "--rank", 4, "--out", "tall")
        self.run_well("prepare", "tall/train.txt", "--test", "tall/test.txt", "--out", "data/tall")
        report = self.scratch / "report.json"
        for objective, inner in (("explicit", "cholesky"), ("implicit", "cholesky"), ("explicit", "cg")):
            self.configure(objective=objective)
            options = ("--set", "data.train=data/tall", "--set", "data.test=data/tall", "--set",
                       "compute.deterministic=false", "--set", f"solver.inner={inner}")
            self.run_well("train", "run.toml", *options)
            alone = json.loads(report.read_text())["epochs"][-1]["loss"]
            for ranks in (2, 3):
                with self.subTest(objective=objective, inner=inner, ranks=ranks):
                    finished = self.train(ranks, *options)
                    self.assertEqual(finished.returncode, 0, finished.stderr)
                    written = json.loads(report.read_text())
                    apart = written["replication"]
                    self.assertEqual(apart["schedule"], "summing")
                    self.assertLess(abs(written["epochs"][-1]["loss"] / alone - 1), 1e-4)
                    expected = self.files_of_model()
                    again = self.train(ranks, *options, "--set", "compute.threads=2")
                    self.assertEqual(again.returncode, 0, again.stderr)
                    self.assert_same_factors(self.files_of_model(), expected)
                    forced = self.train(ranks, *options, "--set", "replication.collective=factors")
                    self.assertEqual(forced.returncode, 0, forced.stderr)
                    everywhere = json.loads(report.read_text())["replication"]
                    self.assertEqual(everywhere["schedule"], "alternating")
                    self.assertLess(10 * max(apart["bytes_sent"]), min(everywhere["bytes_sent"]))
                    self.assertIn(f"would be {everywhere['least_bytes_per_epoch']}", apart["collective"])
                    self.assertIn(f"would be {apart['least_bytes_per_epoch']}", everywhere["collective"])

    def test_partials_that_cannot_be_had_are_refused_with_the_reason(self):
        self.configure()
        for change, reason in (("compute.deterministic=true", "compute.deterministic"),
                               ("solver.kind=subspace", "solver.kind")):
            with self.subTest(change=change):
                finished = self.train(2, "--set", "compute.deterministic=false", "--set", change, "--set",
                                      "replication.collective=grams")
                self.assertEqual(finished.returncode, 2, finished.stderr)
                self.assertIn("replication.collective", finished.stderr)
                self.assertIn(reason, finished.stderr)

    def test_ranks_with_different_configurations_say_so(self):
        self.configure()
        (self.scratch / "other.toml").write_text((self.scratch / "run.toml").read_text().replace("rank = 12", "rank = 13"))
        finished = self.launch("--nproc-per-node", 2, "--", "sh", "-c",
                               f"case $CONCERTO_RANK in 0) exec {PROGRAM} train run.toml;; "
                               f"*) exec {PROGRAM} train other.toml;; esac")
        self.assertEqual(finished.returncode, 2, finished.stderr)
        self.assertIn("model.rank is 12 on rank 0 and 13 on rank 1", finished.stderr)

    def flip_byte(self, path, place):
        content = bytearray(path.read_bytes())
        content[place] ^= 0x10
        path.write_bytes(content)

    def test_damage_in_a_ranks_rows_ends_the_run_and_is_named(self):
        self.configure()
        columns = self.scratch / "data" / "train" / "by_item.columns"
        self.flip_byte(columns, columns.stat().st_size // 2)
        finished = self.train(3)
        # Whichever rank ends first decides the status: the damaged one's 2, or 1 of one that was told.
        self.assertIn(finished.returncode, (1, 2), finished.stderr)
        place = r"data/train/by_item.columns: is altered: the checksum of rows \d+ to \d+ differs"
        told = re.findall(rf"\[rank (\d)\] concerto: error: meeting the other ranks: rank (\d) gave up: {place}",
                          finished.stderr)
        # It tells the others before it says so itself, and the launcher may end it in between.
        damaged = {blamed for _, blamed in told} | set(re.findall(rf"\[rank (\d)\] concerto: error: {place}",
                                                                  finished.stderr))
        self.assertEqual(len(damaged), 1, finished.stderr)
        self.assertNotIn((*damaged, *damaged), told)
        self.assertFalse((self.scratch / "model").exists())
        alone = self.launch("--nproc-per-node", 1, "--", PROGRAM, "inspect", "data/train")
        self.assertRegex(alone.stderr, place)

    def run_in_namespace(self, *command):
        """Runs a shell command in a mount namespace of its own; the caller has checked that it may."""
        return subprocess.run(["unshare", "--mount", "sh", "-ec", *command], cwd=self.scratch, text=True,
                              capture_output=True, timeout=90, env=clean_environment())

    def require_mounts(self):
        tried = subprocess.run(["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /mnt"], capture_output=True)
        if tried.returncode != 0:
            print("SKIPPED: file systems of a rank's own need root: unshare and mount are refused")
            self.skipTest("unshare and mount are refused")

    def test_the_first_rank_writes_for_one_that_does_not_see_the_directory(self):
        self.require_mounts()
        self.configure()
        (self.scratch / "out").mkdir()
        to_out = ("--set", "output.model=out/model")
        self.run_well("train", "run.toml", *to_out)
        expected = {path.name: path.read_bytes() for path in (self.scratch / "out" / "model").iterdir()}
        train = f"{PROGRAM} train run.toml --set output.model=out/model"
        finished = self.launch("--nproc-per-node", 3, "--", "sh", "-c",
                               f"case $CONCERTO_RANK in 1) exec unshare --mount sh -c 'mount -t tmpfs none out && exec "
                               f"{train}';; *) exec {train};; esac")
        self.assertEqual(finished.returncode, 0, finished.stderr)
        self.assertIn("its rows by 2 of 3 ranks", finished.stderr)
        written = {path.name: path.read_bytes() for path in (self.scratch / "out" / "model").iterdir()}
        self.assertEqual(written, expected)
        self.assertEqual([path.name for path in (self.scratch / "out").iterdir()], ["model"])

    def test_a_full_disk_leaves_the_old_model_and_nothing_else(self):
        self.require_mounts()
        self.configure()
        (self.scratch / "out").mkdir()
        train = f"{PROGRAM} train run.toml --set output.model=out/model --set solver.epochs=1"
        launch = os.environ["CONCERTO_LAUNCH"]
        finished = self.run_in_namespace(
            f"mount -t tmpfs -o size=160k none out; {train}; cp -r out/model before; "
            f"dd if=/dev/zero of=out/filler bs=4k count=15 2>&1; status=0; "
            f"{launch} --nproc-per-node 2 -- {train} || status=$?; "
            f"echo status $status; diff -r out/model before && echo unchanged; rm out/filler; ls -A out")
        self.assertIn("No space left on device", finished.stderr)
        self.assertIn("status 1\nunchanged\nmodel\n", finished.stdout)

    def start_long_run(self, ranks, kind="als"):
        """A run that has reached its third epoch; the launcher and the processes of its ranks by number."""
        self.configure(epochs=1000000, kind=kind)
        process = self.start("--nproc-per-node", ranks, "--", PROGRAM, "train", "run.toml")
        seen = []
        while not any("epoch 3/" in line for line in seen):
            line = process.stderr.readline()
            self.assertTrue(line, seen)
            seen.append(line)
        found = {}
        for guard in children_of(process.pid):
            for child in [guard, *children_of(guard)]:
                try:
                    variables = pathlib.Path(f"/proc/{child}/environ").read_text().split("\0")
                except OSError:
                    continue
                for variable in variables:
                    if variable.startswith("CONCERTO_RANK="):
                        found[int(variable.partition("=")[2])] = child
        self.assertEqual(sorted(found), list(range(ranks)))
        return process, found

    def test_a_killed_rank_ends_the_run_and_is_named(self):
        for kind in ("als", "sgd"):
            with self.subTest(kind=kind):
                process, ranks = self.start_long_run(3, kind)
                os.kill(ranks[1], signal.SIGKILL)
                _, err = process.communicate(timeout=60)
                self.assertEqual(process.returncode, 128 + 9)
                self.assertIn(f"rank 1 (process {ranks[1]}) ended with signal 9", err)
                self.assertFalse((self.scratch / "model").exists())

    def test_a_stopped_rank_is_named_by_the_others(self):
        for kind in ("als", "sgd"):
            with self.subTest(kind=kind):
                process, ranks = self.start_long_run(3, kind)
                began = time.monotonic()
                os.kill(ranks[2], signal.SIGSTOP)
                try:
                    _, err = process.communicate(timeout=90)
                finally:
                    try:
                        os.kill(ranks[2], signal.SIGCONT)
                    except OSError:
                        pass
                self.assertNotEqual(process.returncode, 0)
                self.assertRegex(err, r"rank 2 is dead: (no heartbeat for|its lease in the store)")
                self.assertLess(time.monotonic() - began, 60)
                self.assertFalse((self.scratch / "model").exists())

    def test_an_interrupt_keeps_the_last_epoch_of_all(self):
        process, _ = self.start_long_run(2)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        self.assertTrue((self.scratch / "model" / "manifest.json").exists(), err)
        self.assertEqual(json.loads((self.scratch / "report.json").read_text())["final"]["ended"], "stopped")


if __name__ == "__main__":
    unittest.main()
