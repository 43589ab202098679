#!/usr/bin/env python3
"""The benchmark scripts in small: their arithmetic, that they run to the end, and that a missing peer is said loudly.

What they measure is not looked at: speed is asserted nowhere.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(os.environ.get("CONCERTO_SOURCE", pathlib.Path(__file__).resolve().parents[2]))
CONCERTO = os.environ.get("CONCERTO", str(ROOT / "build/release/bin/concerto"))
sys.path.insert(0, str(ROOT / "bench" / "end_to_end"))

from measure import comparison, in_turn, steady_median  # noqa: E402


def run(*command):
    return subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, check=False)


class MeasureTest(unittest.TestCase):
    def test_the_first_epoch_does_not_count(self):
        self.assertEqual(steady_median([9.0, 1.0, 3.0, 2.0]), 2.0)
        self.assertEqual(steady_median([9.0]), 9.0)

    def test_programs_run_in_turn(self):
        calls = []
        ours, theirs = in_turn(2, lambda: calls.append("a") or 1, lambda: calls.append("b") or 2)
        self.assertEqual((calls, ours, theirs), (["a", "b", "a", "b"], [1, 1], [2, 2]))

    def test_the_result_is_the_median_of_ratios(self):
        row = comparison("x", "seconds", [1.0, 2.0, 4.0], [2.0, 6.0, 4.0], lower_is_better=True)
        self.assertEqual(row["times_better"], 2.0)
        row = comparison("x", "MB/s", [1.0, 2.0, 4.0], [2.0, 1.0, 1.0], lower_is_better=False)
        self.assertEqual(row["times_better"], 2.0)


class ScriptsTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def bench(self, out, *suites):
        return run(ROOT / "bench/run", *suites, "--concerto", CONCERTO, "--work", self.folder, "--data", self.folder,
                   "--rounds", 1, "--scale", 0.003, "--peers-python", self.folder / "no-python", "--out", out)

    def test_suites_without_peers_run_and_compare(self):
        out = self.folder / "result.json"
        done = self.bench(out, "memory", "reader")
        self.assertEqual(done.returncode, 0, done.stderr)
        result = json.loads(out.read_text())
        rows = 3 if pathlib.Path(CONCERTO).with_name("bench_kernels").exists() else 2  # the reader is timed by it
        self.assertEqual(len(result["rows"]), rows)
        self.assertTrue(all(row["ours"] > 0 for row in result["rows"]))
        compared = run(ROOT / "bench/compare", out, out, "--fail-below", 0.99)
        self.assertEqual(compared.returncode, 0, compared.stderr)
        self.assertEqual(compared.stdout.count("  1.000   "), rows, compared.stdout)

    def test_a_missing_peer_is_said(self):
        out = self.folder / "result.json"
        done = self.bench(out, "als", "sgd", "target")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr.count("SKIPPED: "), 3, done.stderr)
        self.assertEqual(len(json.loads(out.read_text())["skipped"]), 3)

    def test_tune_chooses_by_validation_and_scores_once(self):
        data = self.folder / "data"
        made = subprocess.run([CONCERTO, "synth", "--users", "300", "--items", "120", "--entries", "9000", "--rank", "4",
                               "--out", str(data)], capture_output=True, text=True, check=False)
        self.assertEqual(made.returncode, 0, made.stderr)
        grid = self.folder / "grid.toml"
        out = self.folder / "tuned.json"
        for validation in ("0.1", '{share = 0.2, by = "user", seeds = [1, 2]}'):
            with self.subTest(validation=validation):
                grid.write_text('name = "tiny"\nconfig = "configs/quickstart.toml"\nmetric = "rmse"\nreport = ["rmse"]\n'
                                f'validation = {validation}\nseeds = [1, 2]\n[set]\n"model.rank" = 4\n'
                                '"solver.epochs" = 4\n[[grid]]\n"model.regularization" = [0.05, 50.0]\n')
                done = run(ROOT / "bench/tune", grid, "--train", data / "train.txt", "--test", data / "test.txt",
                           "--out", out, "--concerto", CONCERTO, "--work", self.folder / "work")
                self.assertEqual(done.returncode, 0, done.stderr)
                result = json.loads(out.read_text())
                self.assertEqual(result["chosen"]["settings"], {"model.regularization": 0.05})
                self.assertEqual([len(result["tried"]), len(result["seeds"])], [2, 2])
                self.assertLess(result["tried"][0]["score"], result["tried"][1]["score"])


if __name__ == "__main__":
    unittest.main()
