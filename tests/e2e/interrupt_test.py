#!/usr/bin/env python3
"""Ctrl-C keeps the last complete epoch, twice ends at once, and a killed process leaves no half model."""
import json
import signal
import unittest

from program import ProgramTest, settings

CONFIG = """# Long enough to be interrupted: epochs beyond any patience.
[data]
train = "data/train.txt"
test = "data/test.txt"
[model]
rank = 32
[solver]
inner = "cholesky"
epochs = 100000
[evaluate]
every = 0
metrics = ["rmse"]
[output]
model = "model"
report = "report.json"
"""


class InterruptTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.run_well("synth", "--users", 3000, "--items", 1000, "--entries", 200000, "--out", "data")
        self.write("run.toml", CONFIG)

    def start_and_await_epoch(self, epoch):
        """A running training that has just ended this epoch. Read by lines, so there is nothing to wait for by time."""
        process = self.start("train", "run.toml")
        for line in process.stderr:
            if f"epoch {epoch}/" in line:
                return process
        self.fail("the program ended before its time")

    def test_interrupt_keeps_the_last_complete_epoch(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            process = self.start_and_await_epoch(3)
            process.send_signal(number)
            out, err = process.communicate(timeout=120)
            self.assertEqual(process.returncode, 0, err)
            self.assertIn("stopping; the last complete epoch is kept", err)
            self.assertIn("stopped on request", out)
            report = json.loads((self.scratch / "report.json").read_text())
            kept = report["final"]["kept_epoch"]
            self.assertGreaterEqual(kept, 3)
            self.assertEqual(report["final"]["ended"], "stopped")
            self.assertEqual(len(report["epochs"]), kept)
            # The same model as a run of that many epochs.
            self.run_well("train", "run.toml", *settings(solver={"epochs": kept}, output={"model": "whole"}))
            self.assertEqual(self.digests("model"), self.digests("whole"))
            again = json.loads((self.scratch / "report.json").read_text())["final"]["metrics"]
            self.assertAlmostEqual(report["final"]["metrics"]["rmse"], again["rmse"], places=9)

    def test_killed_in_the_middle_nothing_half_written(self):
        process = self.start_and_await_epoch(2)
        process.kill()
        process.wait()
        self.assertEqual([name for name in self.names() if not name.startswith("data")], ["run.toml"])

    def test_killed_while_a_model_is_replaced_the_old_or_the_new_one_stands(self):
        self.run_well("train", "run.toml", *settings(solver={"epochs": 1}))
        for epochs in (1, 2, 3, 4):
            process = self.start("train", "run.toml", *settings(solver={"epochs": epochs}))
            for line in process.stderr:
                if f"epoch {epochs}/{epochs}" in line:
                    break
            process.kill()
            process.wait()
            self.assertIn("rank                32", self.run_well("inspect", "model"))

    def test_stopped_while_loading_nothing_is_kept(self):
        process = self.start("train", "run.toml", *settings(model={"rank": 1024}))
        for line in process.stderr:
            if "reading data/train.txt" in line:
                break
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=240)
        self.assertEqual(process.returncode, 130, err)
        self.assertIn("stopping; nothing is kept", err)
        self.assertEqual([name for name in self.names() if not name.startswith("data")], ["run.toml"])

    def test_stopped_before_the_first_epoch_nothing_is_kept(self):
        process = self.start("train", "run.toml", *settings(model={"rank": 1024}))
        for line in process.stderr:
            if "training entries" in line:
                break
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=240)
        if process.returncode == 0:
            self.assertGreaterEqual(json.loads((self.scratch / "report.json").read_text())["final"]["kept_epoch"], 1)
            return
        self.assertEqual(process.returncode, 130, err)
        self.assertIn("concerto: error: ", err)
        self.assertEqual([name for name in self.names() if not name.startswith("data")], ["run.toml"])


if __name__ == "__main__":
    unittest.main()
