#!/usr/bin/env python3
"""The whole job by real processes: generate, train, evaluate, recommend, export, inspect, prepare, train again."""
import json
import struct
import unittest

from program import ProgramTest, settings

CONFIG = """# A small run.
[data]
train = "data/train.txt"
test = "data/test.txt"
[model]
rank = 12
biases = true
regularization = 0.03
[solver]
inner = "cholesky"
epochs = 8
[evaluate]
metrics = ["rmse", "recall@20"]
[output]
model = "model"
report = "report.json"
"""


def read_npy(path):
    """(shape, rows) of a float32 .npy file of one or two dimensions."""
    content = path.read_bytes()
    size = struct.unpack("<H", content[8:10])[0]
    header = eval(content[10:10 + size], {"__builtins__": {}}, {"True": True, "False": False})  # noqa: S307
    values = struct.unpack(f"<{(len(content) - 10 - size) // 4}f", content[10 + size:])
    return header["shape"], values


class PipelineTest(ProgramTest):
    def synth(self, *more):
        return self.run_well("synth", "--users", 1500, "--items", 600, "--entries", 80000, "--rank", 4, "--out", "data",
                             *more)

    def train(self, *more):
        self.write("run.toml", CONFIG)
        return self.run_well("train", "run.toml", *more)

    def test_the_whole_job(self):
        self.synth()
        summary = self.train()
        report = json.loads((self.scratch / "report.json").read_text())
        self.check_report(report)
        self.assertIn("popularity", summary)

        evaluated = self.run_well("evaluate", "model", "--data", "data/test.txt", "--exclude", "data/train.txt",
                                  "--metrics", "rmse,recall@20", "--report", "evaluation.json")
        self.assertIn("recall@20", evaluated)
        again = json.loads((self.scratch / "evaluation.json").read_text())["final"]
        for name, value in report["final"]["metrics"].items():
            self.assertAlmostEqual(again["metrics"][name], value, places=9)
            self.assertAlmostEqual(again["popularity"][name], report["final"]["popularity"][name], places=9)

        self.check_recommendations()
        self.check_export()
        inspected = self.run_well("inspect", "model")
        self.assertIn("1500 (indices from 0)", inspected)
        self.assertIn("model.rank", inspected)
        similar = [line.split("\t") for line in self.run_well("similar", "model", "--items", 5, "--top", 3).splitlines()]
        self.assertEqual([line[0] for line in similar], ["5"] * 3)
        self.assertTrue(all(line[1] != "5" and -1.0 <= float(line[2]) <= 1.0 for line in similar))

    def check_report(self, report):
        self.assertEqual(report["schema_version"], 2)
        self.assertEqual(report["config"]["model"]["rank"], 12)
        self.assertEqual(report["config"]["compute"]["backend"], "auto")
        for key in ("cpu", "threads", "instruction_set", "memory_bytes", "concerto_version"):
            self.assertTrue(report["machine"][key], key)
        entries = {name: len((self.scratch / "data" / f"{name}.txt").read_text().splitlines()) for name in ("train", "test")}
        self.assertEqual(report["data"]["train_entries"], entries["train"])
        self.assertEqual(report["data"]["test_entries"], entries["test"])
        self.assertEqual(report["data"]["items"], 600)
        epochs, final = report["epochs"], report["final"]
        self.assertEqual([epoch["epoch"] for epoch in epochs], list(range(1, 9)))
        losses = [epoch["loss"] for epoch in epochs]
        self.assertTrue(all(after <= before * (1 + 1e-6) for before, after in zip(losses, losses[1:])), losses)
        self.assertAlmostEqual(final["train_seconds"], sum(epoch["seconds"] for epoch in epochs))
        self.assertEqual(final["metrics"], epochs[-1]["metrics"])
        self.assertAlmostEqual(final["updates_per_second"] * final["seconds_per_epoch"], entries["train"], places=3)
        self.assertGreaterEqual(final["total_seconds"], final["load_seconds"] + final["train_seconds"] - 0.02)
        self.assertGreater(final["peak_rss_bytes"], 1 << 20)
        self.assertEqual(final["device_bytes"], 0)
        self.assertNotIn("replication", report)
        truth = json.loads((self.scratch / "data" / "truth.json").read_text())
        self.assertTrue(truth)
        self.assertLess(final["metrics"]["rmse"], final["popularity"]["rmse"])

    def check_recommendations(self):
        seen = {}
        for line in (self.scratch / "data" / "train.txt").read_text().splitlines():
            user, item = line.split()[:2]
            seen.setdefault(user, set()).add(item)
        lines = self.run_well("recommend", "model", "--users", "all", "--top", 5, "--exclude", "data/train.txt")
        lists = {}
        for line in lines.splitlines():
            user, item, score = line.split("\t")
            self.assertNotIn(item, seen.get(user, ()))
            lists.setdefault(user, []).append(float(score))
        self.assertEqual(len(lists), 1500)
        self.assertTrue(all(scores == sorted(scores, reverse=True) and len(scores) == 5 for scores in lists.values()))
        user = next(iter(seen))
        self.write("history.txt", "".join(f"someone {item} 4\n" for item in sorted(seen[user])))
        folded = self.run_well("recommend", "model", "--history", "history.txt", "--top", 5).splitlines()
        self.assertEqual(len(folded), 5)
        self.assertTrue(all(line.split("\t")[1] not in seen[user] for line in folded))

    def check_export(self):
        self.run_well("export", "model", "--format", "npy", "--out", "exported")
        shape, values = read_npy(self.scratch / "exported" / "items.npy")
        self.assertEqual(shape, (600, 12))
        self.run_well("export", "model", "--format", "safetensors", "--out", "model.safetensors")
        self.assertTrue((self.scratch / "model.safetensors").is_file())
        self.run_well("export", "model", "--format", "text", "--out", "text")
        first = next(path for path in (self.scratch / "text").iterdir() if path.name.startswith("items"))
        numbers = first.read_text().splitlines()[0].split()
        self.assertEqual(numbers[0], "0")
        for text, value in zip(numbers[1:], values):
            self.assertAlmostEqual(float(text), value, places=5)

    def test_a_prepared_directory_gives_the_same_model(self):
        self.synth()
        self.train()
        self.run_well("prepare", "data/train.txt", "--test", "data/test.txt", "--out", "prepared")
        self.assertIn("held out", self.run_well("inspect", "prepared"))
        self.train(*settings(data={"train": "prepared", "test": ""}, output={"model": "mapped", "report": "mapped.json"}))
        self.assertEqual(self.digests("model"), self.digests("mapped"))
        metrics = [json.loads((self.scratch / name).read_text())["final"]["metrics"] for name in ("report.json", "mapped.json")]
        self.assertEqual(metrics[0], metrics[1])
        evaluated = [self.run_well("evaluate", "model", "--data", data, "--exclude", train, "--metrics", "ndcg@10")
                     for data, train in (("data/test.txt", "data/train.txt"), ("prepared", "prepared"))]
        self.assertEqual(evaluated[0], evaluated[1])

    def test_threads_do_not_change_the_model(self):
        self.synth()
        for kind in ("als", "subspace", "sgd"):
            digests = []
            for threads in (1, 2, 3):
                self.train(*settings(solver={"kind": kind, "epochs": 2}, compute={"threads": threads},
                                     output={"model": f"{kind}{threads}"}))
                digests.append(self.digests(f"{kind}{threads}"))
            self.assertEqual(digests[0], digests[1], kind)
            self.assertEqual(digests[0], digests[2], kind)

    def test_evaluation_folds_in_users_from_a_history(self):
        self.synth()
        lines = (self.scratch / "data" / "train.txt").read_text().splitlines(keepends=True)
        self.write("old.txt", "".join(line for line in lines if int(line.split()[0]) < 1300))
        self.write("new.txt", "".join(line for line in lines if int(line.split()[0]) >= 1300))
        self.train(*settings(data={"train": "old.txt"}))
        common = ("evaluate", "model", "--data", "data/test.txt", "--exclude", "old.txt", "--metrics", "rmse,recall@20")
        self.run_well(*common, "--report", "without.json")
        self.run_well(*common, "--history", "new.txt", "--report", "with.json")
        without, folded = (json.loads((self.scratch / f"{name}.json").read_text())["final"] for name in ("without", "with"))
        self.assertGreater(without["evaluated"]["unknown_users"], 100)
        self.assertEqual(folded["evaluated"]["unknown_users"], 0)
        self.assertGreater(folded["folded_in_users"], 100)
        self.assertGreater(folded["evaluated"]["users_evaluated"], without["evaluated"]["users_evaluated"])
        self.assertLess(folded["metrics"]["rmse"], without["metrics"]["rmse"])

    def test_early_stopping_and_warm_start(self):
        self.synth()
        self.train(*settings(data={"validation": 0.1}, solver={"stop_after": 2, "epochs": 60, "kind": "sgd"}))
        report = json.loads((self.scratch / "report.json").read_text())
        scores = [epoch["validation"]["rmse"] for epoch in report["epochs"]]
        self.assertEqual(scores.index(min(scores)) + 1, report["final"]["kept_epoch"])
        self.assertEqual(report["final"]["metrics"], report["epochs"][report["final"]["kept_epoch"] - 1]["metrics"])
        self.train()
        first = json.loads((self.scratch / "report.json").read_text())["epochs"]
        self.train(*settings(model={"warm_start": "model"}, output={"model": "warm"}), "--report", "'warm' start.json")
        warm = json.loads((self.scratch / "'warm' start.json").read_text())["epochs"]
        self.assertLessEqual(warm[0]["loss"], first[-1]["loss"] * (1 + 1e-6))


if __name__ == "__main__":
    unittest.main()
