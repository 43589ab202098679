#!/usr/bin/env python3
"""Every configuration in configs/ trains, and every sweep runs, as written but for where the data is and how large."""
import json
import tomllib
import unittest

from program import SOURCE, ProgramTest, settings


class ConfigsTest(ProgramTest):
    def test_every_configuration_trains(self):
        self.run_well("synth", "--users", 800, "--items", 400, "--entries", 40000, "--rank", 4, "--out", "explicit")
        self.run_well("synth", "--users", 800, "--items", 400, "--entries", 40000, "--rank", 4, "--implicit", "--out",
                      "implicit")
        files = sorted((SOURCE / "configs").glob("*.toml"))
        self.assertGreaterEqual(len(files), 4)
        for file in files:
            with self.subTest(file.name):
                config = tomllib.loads(file.read_text())
                if "case" in config:
                    self.check_sweep(file, config)
                else:
                    self.check(file, config)

    def check_sweep(self, file, sweep):
        """Each level of each case once. Steps are so short here that nobody keeps a pace: runs may be void."""
        small = {"data": {"train": "explicit/train.txt", "test": "explicit/test.txt"},
                 "model": {"rank": 4}, "solver": {"epochs": 3}, "emulation": {"pace": 1, "slow_factor": 1}}
        (self.scratch / "configs").symlink_to(SOURCE / "configs")
        self.run_well("bench", file, "--repeats", 1, *settings(**small))
        results = json.loads((self.scratch / f"{sweep['name']}.bench" / "results.json").read_text())
        self.assertEqual([case["name"] for case in results["cases"]], [case["name"] for case in sweep["case"]])
        for case in results["cases"]:
            for level in case["levels"]:
                self.assertEqual({run["ended"] for run in level["runs"]} - {"done", "void"}, set(), level["name"])
                self.assertTrue(level["runs"], level["name"])

    def check(self, file, config):
        kind = config["model"].get("objective", "explicit")
        data = {"train": f"{kind}/train.txt"}
        if "test" in config["data"]:
            data["test"] = f"{kind}/test.txt"
        tables = {"data": data, "output": {"model": "model", "report": "report.json"}}
        if config["model"]["rank"] > 128:
            tables |= {"model": {"rank": 64}, "solver": {"slice": 16}}
        self.run_well("train", file, *settings(**tables))
        report = json.loads((self.scratch / "report.json").read_text())
        metrics = report["final"]["metrics"]
        self.assertEqual(set(metrics), set(config["evaluate"]["metrics"]))
        losses = [epoch["loss"] for epoch in report["epochs"] if epoch["loss"] is not None]
        self.assertLess(losses[-1], 1e12)
        if "rmse" in metrics:
            self.assertLess(metrics["rmse"], report["final"]["popularity"]["rmse"])
        else:
            self.assertGreater(metrics["recall@20"], 0.0)


if __name__ == "__main__":
    unittest.main()
