#!/usr/bin/env python3
"""Training under levels other than strong: the error of strong, what the report says of lag, and how such runs end."""
import json
import os
import re
import shutil
import signal
import subprocess
import unittest

from launching import PROGRAM, LaunchingTest, clean_environment

CONFIG = """
[data]
train = "data/train"
test = "data/train"

[model]
rank = 6
biases = true
regularization = 0.05

[solver]
kind = "{kind}"
inner = "cholesky"
slice = 4
epochs = {epochs}
learning_rate = 0.02

[compute]
backend = "cpu"
threads = 1

[evaluate]
metrics = ["rmse"]

[cluster]
heartbeat_ms = 500
dead_after_ms = 5000

[output]
model = "model"
report = "report.json"
"""


class LevelsTest(LaunchingTest):
    def setUp(self):
        super().setUp()
        (self.scratch / "data").mkdir()
        self.run_well("synth", "--users", 900, "--items", 400, "--entries", 40000, "--rank", 4, "--out", "synthetic")
        self.run_well("prepare", "synthetic/train.txt", "--test", "synthetic/test.txt", "--out", "data/train")

    def run_well(self, *arguments):
        finished = subprocess.run([PROGRAM, *map(str, arguments)], cwd=self.scratch, text=True, capture_output=True,
                                  timeout=60, env=clean_environment())
        self.assertEqual(finished.returncode, 0, finished.stderr)
        return finished.stdout

    def train(self, ranks, kind, level, epochs=12, options=()):
        (self.scratch / "run.toml").write_text(CONFIG.format(kind=kind, epochs=epochs))
        return self.launch("--nproc-per-node", ranks, "--", PROGRAM, "train", "run.toml", "--set",
                           f"replication.level={level}", *options)

    def report(self):
        return json.loads((self.scratch / "report.json").read_text())

    def rmse_of_the_written_model(self):
        shown = self.run_well("evaluate", "model", "--data", "synthetic/test.txt", "--exclude", "data/train",
                              "--metrics", "rmse")
        return float(re.search(r"^rmse\s+([0-9.]+)", shown, re.M)[1])

    def test_levels_reach_the_error_of_strong(self):
        for kind in ("als", "subspace", "sgd"):
            finished = self.train(2, kind, "strong")
            self.assertEqual(finished.returncode, 0, finished.stderr)
            strong = self.report()["final"]["metrics"]["rmse"]
            for level, ranks, options in (("bounded", 2, ("--set", "replication.max_lag=1")), ("eventual", 3, ())):
                with self.subTest(kind=kind, level=level):
                    # So many epochs that a rank which began late or was held up has trained enough too.
                    finished = self.train(ranks, kind, level, epochs=60, options=options)
                    self.assertEqual(finished.returncode, 0, finished.stderr)
                    report = self.report()
                    replication = report["replication"]
                    self.assertEqual(replication["level"], level)
                    self.assertEqual(replication["schedule"], "asynchronous")
                    # On data as small as these it is felt that ranks add to one item at once, and how they happen to run.
                    allowed = 1.4 if kind == "sgd" else 1.1
                    self.assertLess(report["final"]["metrics"]["rmse"], allowed * strong)
                    self.assertAlmostEqual(self.rmse_of_the_written_model(), report["final"]["metrics"]["rmse"],
                                           delta=2e-4)
                    self.check_promises(replication, ranks, kind, level)

    def check_promises(self, replication, ranks, kind, level):
        # Every step's reads are counted, and none lags by more than is promised.
        lag = replication["lag"]
        self.assertGreater(sum(lag["histogram"]), 0)
        self.assertEqual(len(lag["histogram"]), lag["max"] + 1)
        self.assertEqual(lag["at_most"], sorted(lag["at_most"]))
        self.assertEqual((len(lag["at_most"]), lag["at_most"][-1]), (lag["max"] + 1, 1.0))
        if level == "bounded":
            self.assertLessEqual(lag["max"], 1)
        else:
            self.assertEqual(replication["blocked_seconds"], [0.0] * ranks)
        self.assertEqual(len(replication["blocked_seconds"]), ranks)
        self.assertEqual(len(replication["compute_seconds_of_ranks"]), ranks)
        self.assertIn(replication["compute_seconds"], replication["compute_seconds_of_ranks"])
        sent = replication["bytes_by_kind"]
        self.assertGreater(sent["put"], 0)
        self.assertEqual(sent["delta"] > 0, kind == "sgd")
        self.assertEqual(sent["fence"], 0)
        self.assertGreater(sum(sent.values()), replication["bytes_sent"][0])
        visibility = replication["visibility_ms"]
        self.assertGreater(visibility["samples"], 0)
        self.assertLess(0.0, visibility["p50"])
        self.assertLessEqual(visibility["p50"], visibility["p99"])
        # A short run may be over before its first sample.
        for seconds, index in replication["consistency_index"]:
            self.assertGreater(seconds, 0.0)
            self.assertTrue(0.0 <= index <= 1.0, index)
        self.assertEqual(replication["consistency_skew_ms"] is None, not replication["consistency_index"])

    def test_consistency_is_sampled_where_it_is_asked_for(self):
        sampled = []
        for options in (("--set", "replication.sample_seconds=0"), ("--set", "replication.sample_seconds=0.001")):
            finished = self.train(3, "als", "eventual", epochs=400, options=options)
            self.assertEqual(finished.returncode, 0, finished.stderr)
            replication = self.report()["replication"]
            self.check_promises(replication, 3, "als", "eventual")
            sampled.append([index for _, index in replication["consistency_index"]])
        self.assertEqual(sampled[0], [])
        self.assertTrue(0 < len(sampled[1]) <= 256, len(sampled[1]))
        times = [seconds for seconds, _ in replication["consistency_index"]]
        self.assertEqual(times, sorted(times))

    def test_a_table_may_have_a_level_of_its_own(self):
        # Where items are strong, so is every step; where they are bounded, so are the steps that read them.
        for options, most in ((("replication.items.level=strong",), 0),
                              (("replication.items.level=bounded", "replication.items.max_lag=1",
                                "replication.users.level=bounded", "replication.users.max_lag=0"), 1)):
            with self.subTest(options=options):
                settings = [word for option in options for word in ("--set", option)]
                finished = self.train(3, "als", "eventual", options=settings)
                self.assertEqual(finished.returncode, 0, finished.stderr)
                replication = self.report()["replication"]
                self.assertGreater(sum(replication["lag"]["histogram"]), 0)
                self.assertLessEqual(replication["lag"]["max"], most)

    def test_a_single_rank_has_nobody_to_wait_for(self):
        finished = self.train(1, "als", "eventual")
        self.assertEqual(finished.returncode, 0, finished.stderr)
        with_launcher = (self.scratch / "model" / "item_factors.bin").read_bytes()
        self.run_well("train", "run.toml")
        self.assertEqual((self.scratch / "model" / "item_factors.bin").read_bytes(), with_launcher)

    def test_paced_steps_and_logs_of_versions_are_for_ranks_and_reported(self):
        asked = ("--set", "emulation.pace=1.5", "--set", "emulation.slow_ranks=1", "--set", "emulation.slow_factor=3",
                 "--set", "output.versions=versions")
        for level in ("strong", "eventual"):
            with self.subTest(level=level):
                finished = self.train(3, "als", level, epochs=4, options=asked)
                self.assertEqual(finished.returncode, 0, finished.stderr)
                pacing = self.report()["replication"]["pacing"]
                self.assertEqual(len(pacing["errors"]), 3)
                self.assertEqual(pacing["error"], max(pacing["errors"]))
                self.assertGreater(pacing["held_seconds"][2], 0)
                self.assertEqual(sorted(path.name for path in (self.scratch / "versions").iterdir()),
                                 [f"rank-{rank}.versions" for rank in range(3)])
                shutil.rmtree(self.scratch / "versions")
        for key, option in (("emulation.pace", "emulation.pace=2"), ("output.versions", "output.versions=versions")):
            alone = subprocess.run([PROGRAM, "train", "run.toml", "--set", option], cwd=self.scratch, text=True,
                                   capture_output=True, timeout=60, env=clean_environment())
            self.assertEqual(alone.returncode, 2)
            self.assertIn(f"{key} is for runs that concerto-launch starts", alone.stderr)

    def test_a_killed_rank_is_named_and_nothing_is_half_written(self):
        (self.scratch / "run.toml").write_text(CONFIG.format(kind="als", epochs=100000))
        process = self.start("--nproc-per-node", 3, "--", "sh", "-c",
                             f"echo $$ > pid.$CONCERTO_RANK; exec {PROGRAM} train run.toml --set replication.level=bounded")
        for line in process.stderr:
            if "epoch 3/" in line:
                break
        os.kill(int((self.scratch / "pid.1").read_text()), signal.SIGKILL)
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 128 + signal.SIGKILL, err)
        self.assertIn("rank 1", err)
        self.assertIn("signal 9", err)
        self.assertRegex(out + err, r"rank 1 (is dead|ended|gave up|did not)")
        self.assertEqual([p.name for p in self.scratch.iterdir() if "model" in p.name], [])

    def test_a_stop_keeps_what_all_have(self):
        (self.scratch / "run.toml").write_text(CONFIG.format(kind="als", epochs=100000))
        process = self.start("--nproc-per-node", 2, "--", PROGRAM, "train", "run.toml", "--set",
                             "replication.level=eventual")
        for line in process.stderr:
            if "epoch 5/" in line:
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, err)
        self.assertRegex(out, r"stopped on request; epoch \d+ is kept")
        self.assertGreater(self.rmse_of_the_written_model(), 0.0)

    def test_what_needs_strong_says_so(self):
        for options, message in (
            (("--set", "compute.deterministic=true"), "depends on timing"),
            (("--set", "solver.momentum=0.3"), 'solver.momentum needs replication.level = "strong"'),
            (("--set", "replication.collective=grams"), "needs replication.level"),
        ):
            finished = self.train(2, "als", "eventual", options=options)
            self.assertEqual(finished.returncode, 2, finished.stderr)
            self.assertIn(message, finished.stdout + finished.stderr)
        finished = self.train(2, "als", "eventual", options=("--set", "replication.max_lag=3"))
        self.assertEqual(finished.returncode, 2)
        self.assertIn('replication.max_lag needs replication.level = "bounded"', finished.stdout + finished.stderr)


if __name__ == "__main__":
    unittest.main()
