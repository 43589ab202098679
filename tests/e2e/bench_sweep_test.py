#!/usr/bin/env python3
"""`concerto bench`: a small sweep to its end, one over a slow network, one that is stopped, and sweeps that are wrong."""
import json
import os
import shutil
import signal
import subprocess
import unittest

from program import PROGRAM, ProgramTest

CONFIG = """
[data]
train = "data/train.txt"
test = "data/test.txt"
[model]
rank = 4
[solver]
kind = "als"
inner = "cholesky"
epochs = 12
[compute]
backend = "cpu"
threads = 1
[evaluate]
metrics = ["rmse"]
[output]
model = "model"
"""

SWEEP = """name = "tiny"
about = "Two levels on little data."
repeats = 1
target_within = 0.1
train = "run.toml"
settings = ["model.regularization=0.06"]

[[level]]
name = "strong"
[[level]]
name = "eventual"
settings = ["replication.level=eventual"]

[[case]]
name = "alike"
title = "Two ranks that are alike"
ranks = 2
limits = [{level = "eventual", at_most = 1000}]

[[case]]
name = "slow-network"
ranks = 2
settings = ["cluster.collectives=channel"]
network = {delay_ms = 1, rate_mbit = 400}
[[case.level]]
name = "strong"
[[case.level]]
name = "bounded"
settings = ["replication.level=bounded", "replication.max_lag=1"]
"""

CASE_KEYS = {"name", "title", "about", "ranks", "data", "metric", "smaller_is_better", "solver", "epochs", "baseline",
             "network", "stragglers", "pace", "encrypted", "limits", "compute_to_bytes", "levels"}
LEVEL_KEYS = {"name", "level", "max_lag", "settings", "runs", "summary"}
RUN_KEYS = {"repeat", "ended", "why", "seconds", "final_metric", "time_to_target", "ratio", "curve", "epochs",
            "pacing_error", "compute_seconds", "blocked_seconds", "bytes_by_kind", "lag", "visibility_ms",
            "consistency_index"}
SUMMARY_KEYS = {"runs", "void", "failed", "ratio", "time_to_target", "final_metric", "quality_difference", "bytes",
                "within_limit"}


class BenchSweepTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.write("run.toml", CONFIG)
        self.write("sweep.toml", SWEEP)

    def make_data(self):
        self.run_well("synth", "--users", 600, "--items", 300, "--entries", 30000, "--rank", 4, "--out", "data")

    def results(self, folder):
        return json.loads((self.scratch / folder / "results.json").read_text())

    def check_run(self, run):
        self.assertEqual(set(run), RUN_KEYS)
        self.assertEqual((run["ended"], run["why"]), ("done", ""))
        self.assertGreater(run["seconds"], 0.0)
        self.assertGreater(run["epochs"], 0)
        times = [point[0] for point in run["curve"]]
        self.assertTrue(times)
        self.assertLessEqual(len(times), 200)
        self.assertEqual(times, sorted(times))
        # What is last in the log is what was written as the model.
        self.assertAlmostEqual(run["curve"][-1][1], run["final_metric"], delta=1e-6)
        self.assertGreater(run["curve"][0][1], run["final_metric"])

    def check_ratio(self, run, baseline):
        """So small a run may be at its target before its clock has moved."""
        times = run["time_to_target"], baseline["time_to_target"]
        if None in times or times[1] == 0.0:
            self.assertIsNone(run["ratio"])
        else:
            self.assertAlmostEqual(run["ratio"], times[0] / times[1])

    def test_a_sweep_to_its_end(self):
        self.make_data()
        shown = self.run_well("bench", "sweep.toml", "--case", "alike", "--out", "out")
        self.assertIn("alike: Two ranks that are alike", shown)
        self.assertIn("at most 1000: ", shown)
        results = self.results("out")
        self.assertEqual(results["format"], "concerto bench 1")
        self.assertEqual(results["command"], "concerto bench sweep.toml --out out --case alike")
        self.assertEqual((results["name"], results["repeats"], results["target_within"]), ("tiny", 1, 0.1))
        self.assertRegex(results["begun"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertEqual(set(results["machine"]), {"cpu", "threads", "memory_bytes"})
        [case] = results["cases"]
        self.assertEqual(set(case), CASE_KEYS)
        self.assertEqual((case["data"], case["metric"], case["solver"]), ("data", "rmse", "als"))
        self.assertTrue(case["smaller_is_better"] and case["encrypted"])
        strong, eventual = case["levels"]
        for level in (strong, eventual):
            self.assertEqual(set(level), LEVEL_KEYS)
            self.assertEqual(set(level["summary"]), SUMMARY_KEYS)
            self.assertEqual(level["summary"]["runs"], 1)
            [run] = level["runs"]
            self.check_run(run)
        self.check_ratio(strong["runs"][0], strong["runs"][0])
        self.check_ratio(eventual["runs"][0], strong["runs"][0])
        self.assertIsNotNone(strong["runs"][0]["time_to_target"])
        self.assertEqual(strong["summary"]["quality_difference"], 0.0)
        self.assertIsNone(strong["summary"]["within_limit"])
        reached = eventual["runs"][0]["time_to_target"] is not None
        expected = eventual["runs"][0]["ratio"] and eventual["runs"][0]["ratio"] <= 1000
        self.assertEqual(eventual["summary"]["within_limit"], expected if reached else False)
        self.assertEqual((eventual["level"], eventual["settings"]), ("eventual", ["replication.level=eventual"]))
        # Logs and reports stay; models and versions do not.
        self.assertEqual(sorted(str(path.relative_to(self.scratch / "out")) for path in
                                (self.scratch / "out").rglob("*") if path.is_file()),
                         ["index.html", "results.json"] + [f"runs/alike/{level}-0/{name}" for level in ("eventual", "strong")
                                             for name in ("report.json", "run.log")])
        # Nothing is overwritten.
        again = self.call("bench", "sweep.toml", "--out", "out")
        self.assertEqual(again.returncode, 2)
        self.assertIn("--out: out holds results of the sweep tiny; give another directory, or empty it", again.stderr)

    def test_over_a_slow_network(self):
        self.make_data()
        self.run_well("bench", "sweep.toml", "--case", "slow-network")
        [case] = self.results("tiny.bench")["cases"]
        self.assertEqual(case["network"], {"delay_ms": 1.0, "jitter_ms": 0.0, "rate_mbit": 400.0})
        self.assertGreater(case["compute_to_bytes"], 0.0)
        for level in case["levels"]:
            self.check_run(level["runs"][0])
        self.assertEqual(case["levels"][1]["max_lag"], 1)
        refused = self.call("bench", "sweep.toml", "--out", "other", "--set", "cluster.collectives=gloo")
        self.assertEqual(refused.returncode, 2)
        self.assertIn("sweep.toml: case slow-network, level strong: cluster.collectives: a network needs "
                      'cluster.collectives = "channel": other connections do not pass it', refused.stderr)
        self.assertFalse((self.scratch / "other").exists())

    def test_a_run_that_fails_is_a_result(self):
        self.make_data()
        # Divergence shows only while training.
        finished = self.call("bench", "sweep.toml", "--case", "alike", "--set", "solver.kind=sgd", "--set",
                             "solver.learning_rate=1e6")
        self.assertEqual(finished.returncode, 1, finished.stderr)
        [case] = self.results("tiny.bench")["cases"]
        for level in case["levels"]:
            [run] = level["runs"]
            self.assertEqual(run["ended"], "failed")
            self.assertIn("exit status", run["why"])
            self.assertIn("learning_rate", run["why"])
            self.assertEqual((run["final_metric"], level["summary"]["ratio"]), (None, None))

    def test_a_stop_keeps_what_has_ended(self):
        self.make_data()
        process = self.start("bench", "sweep.toml", "--case", "alike", "--repeats", "500")
        for line in process.stderr:
            if "alike / strong, repeat 1 of" in line:
                break
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, err)
        self.assertIn("stopped on request", out)
        [case] = self.results("tiny.bench")["cases"]
        self.assertGreaterEqual(case["levels"][0]["summary"]["runs"], 1)
        self.assertEqual(case["levels"][0]["summary"]["failed"] + case["levels"][1]["summary"]["failed"], 0)
        left = [path.name for path in (self.scratch / "tiny.bench").rglob("*") if path.is_dir()]
        self.assertNotIn("versions", left)

    def test_what_is_wrong_is_named(self):
        self.make_data()
        for change, message in (
            (("repeats = 1", "repeat = 1"), "sweep.toml:3: unknown key repeat; did you mean repeats?"),
            (('"model.regularization=0.06"', '"model.regularisation=0.06"'),
             "sweep.toml:6: unknown key model.regularisation in a setting; did you mean model.regularization?"),
            (("run.toml", "none.toml"), "case alike, level strong: none.toml: there is no such configuration file"),
            (("replication.level=eventual", "replication.level=evental"), "case alike, level eventual: --set "
             'replication.level=evental: replication.level "evental" is not one of strong, bounded, eventual'),
        ):
            self.write("wrong.toml", SWEEP.replace(*change))
            finished = self.call("bench", "wrong.toml", "--out", "other")
            self.assertEqual(finished.returncode, 2, finished.stderr)
            self.assertIn(message.replace("sweep.toml", "wrong.toml"), finished.stderr)
            self.assertFalse((self.scratch / "other").exists())
        finished = self.call("bench", "sweep.toml", "--case", "alke")
        self.assertIn("--case alke: the sweep has no such case; it has alike, slow-network", finished.stderr)
        finished = self.call("bench", "sweep.toml", "--set", "data.test=")
        self.assertIn("a sweep needs data.test or data.split", finished.stderr)
        for setting, message in (
            ("output.model=x", "--set output.model=x: is decided by the runner of case alike and cannot be set"),
            ("cluster.channel_port=9", "is decided by the runner of case slow-network and cannot be set"),
            ("cluster.store=etcd://127.0.0.1:1", "cluster.store: the runs of a sweep meet at a store of their launcher's"),
            ("model.rnak=3", "unknown key model.rnak; did you mean model.rank?"),
        ):
            finished = self.call("bench", "sweep.toml", "--set", setting)
            self.assertEqual(finished.returncode, 2)
            self.assertIn(message, finished.stderr)
        self.assertFalse((self.scratch / "tiny.bench").exists())
        (self.scratch / "file").write_text("")
        finished = self.call("bench", "sweep.toml", "--out", "file")
        self.assertIn("--out: file is not a directory", finished.stderr)

    def test_the_launcher_must_be_there(self):
        alone = self.scratch / "concerto"
        shutil.copy(PROGRAM, alone)
        environment = {**os.environ, "PATH": str(self.scratch)}
        finished = subprocess.run([alone, "bench", "sweep.toml"], cwd=self.scratch, text=True, capture_output=True,
                                  env=environment, timeout=60)
        self.assertEqual(finished.returncode, 2)
        self.assertIn("concerto-launch: is needed to start ranks", finished.stderr)


if __name__ == "__main__":
    unittest.main()
