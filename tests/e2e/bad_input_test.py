#!/usr/bin/env python3
"""Every kind of bad input: status 2, one line that names the place, nothing written."""
import gzip
import re
import unittest

from program import ProgramTest, settings

CONFIG = """# A small run.
[data]
train = "ratings.txt"
[model]
rank = 4
[solver]
epochs = 1
[output]
model = "model"
"""
GOOD = "".join(f"{user} {item} {1 + (user * item) % 5}\n" for user in range(20) for item in range(12) if (user + item) % 3)

# Name, content of ratings.txt, what the line must say.
BAD_DATA = [
    ("empty file", "", ["ratings.txt"]),
    ("one column", "1\n2\n", ["ratings.txt:1"]),
    ("a line too short", GOOD + "7\n", ["ratings.txt:161"]),
    ("not a number", GOOD + "7 8 much\n", ["ratings.txt:161", "field 3"]),
    ("not finite", GOOD + "7 8 nan\n", ["ratings.txt:161", "field 3"]),
    ("infinite", GOOD + "7 8 inf\n", ["ratings.txt:161", "field 3"]),
    ("no values", "1 2\n2 3\n3 4\n", ["ratings.txt"]),
]

# Name, --set words, what the line must say.
BAD_SETTINGS = [
    ("unknown key", {"model": {"ranc": 4}}, ["model.ranc", "model.rank"]),
    ("unknown table", {"modell": {"rank": 4}}, ["modell"]),
    ("rank out of range", {"model": {"rank": 0}}, ["model.rank"]),
    ("negative", {"model": {"regularization": -1}}, ["model.regularization"]),
    ("not a number", {"solver": {"epochs": "many"}}, ["solver.epochs"]),
    ("unknown solver", {"solver": {"kind": "magic"}}, ["solver.kind"]),
    ("unknown metric", {"evaluate": {"metrics": "recal@20"}}, ["recal@20"]),
    ("sgd with implicit", {"model": {"objective": "implicit"}, "solver": {"kind": "sgd"}}, ["solver.kind"]),
    ("cholesky too high", {"model": {"rank": 1025}, "solver": {"inner": "cholesky"}}, ["cg", "subspace"]),
    ("an all-test split", {"data": {"split": "{test = 1.0}"}}, ["data.split"]),
    ("declared too few users", {"data": {"users": 5}}, ["ratings.txt"]),
    ("everything filtered out", {"data": {"min_value": 100}}, ["data.min_value"]),
    ("no such data", {"data": {"train": "nothing.txt"}}, ["data.train", "nothing.txt"]),
    ("unknown format", {"data": {"format": "xls"}}, ["data.format"]),
    ("no such place for the model", {"output": {"model": "no/model"}}, ["output.model"]),
    ("no such place for the report", {"output": {"report": "no/report.json"}}, ["output.report"]),
    ("no such warm start", {"model": {"warm_start": "nothing"}}, ["model.warm_start"]),
    ("unknown backend", {"compute": {"backend": "gpu"}}, ["compute.backend", "gpu"]),
    ("unknown precision", {"compute": {"gather": "fp16"}}, ["compute.gather", "fp16", "bf16", "fp32"]),
    ("unknown level", {"replication": {"level": "lazy"}}, ["replication.level", "strong", "bounded", "eventual"]),
    ("a bound of another level", {"replication": {"max_lag": 7}}, ["replication.max_lag", "bounded"]),
    ("a later key", {"replication": {"replicas": 2}}, ["replication.replicas"]),
    ("too little memory", {"compute": {"memory_limit_bytes": 1000000}}, ["memory"]),
]


class BadInputTest(ProgramTest):
    def setUp(self):
        super().setUp()
        self.write("run.toml", CONFIG)
        self.write("ratings.txt", GOOD)

    def refuse(self, arguments, words):
        before = self.names()
        finished = self.call(*arguments)
        self.assertEqual(finished.returncode, 2, finished.stderr)
        errors = [line for line in finished.stderr.splitlines() if "error" in line]
        self.assertEqual(len(errors), 1, finished.stderr)
        self.assertTrue(errors[0].startswith("concerto: error: "), errors[0])
        self.assertEqual(finished.stderr.splitlines()[-1], errors[0])
        for word in words:
            self.assertIn(word, errors[0])
        self.assertEqual(finished.stdout, "")
        self.assertEqual(self.names(), before)

    def test_data(self):
        for name, content, words in BAD_DATA:
            with self.subTest(name):
                self.write("ratings.txt", content)
                self.refuse(["train", "run.toml"], words)
                if name != "no values":
                    self.refuse(["prepare", "ratings.txt", "--out", "prepared"], words)

    def test_settings(self):
        for name, tables, words in BAD_SETTINGS:
            with self.subTest(name):
                self.refuse(["train", "run.toml", *settings(**tables)], words)

    def test_a_gpu_that_is_not_there(self):
        automatic = self.call("train", "run.toml", *settings(compute={"backend": "auto"}))
        self.assertEqual(automatic.returncode, 0, automatic.stderr)
        if "runs on cuda: " in automatic.stderr:
            print("SKIPPED: there is a GPU here")
            return
        reason = re.search(r"runs on cpu: .* \(no GPU: (.+)\)\n", automatic.stderr)
        self.assertIsNotNone(reason, automatic.stderr)
        where = f'compute.backend = "cuda": {reason[1]}'
        self.refuse(["train", "run.toml", *settings(compute={"backend": "cuda"}, output={"model": "second"})], [where])
        for command in (["evaluate", "model", "--data", "ratings.txt", "--metrics", "rmse"],
                        ["recommend", "model", "--users", "1"], ["similar", "model", "--items", "1"]):
            with self.subTest(command[0]):
                self.refuse([*command, "--backend", "cuda"], [where])

    def test_configuration_files(self):
        for content, words in ((CONFIG + "[model]\n", ["run.toml:"]), ("x = [\n", ["run.toml:"]), ("", ["data.train"])):
            self.write("run.toml", content)
            self.refuse(["train", "run.toml"], words)
        self.refuse(["train", "missing.toml"], ["missing.toml"])

    def test_compressed_files(self):
        packed = gzip.compress(GOOD.encode())
        for name, content in (("truncated", packed[:len(packed) // 2]), ("altered", packed[:60] + b"\x55" * 20 + packed[80:])):
            with self.subTest(name):
                (self.scratch / "ratings.txt.gz").write_bytes(content)
                self.refuse(["train", "run.toml", *settings(data={"train": "ratings.txt.gz"})], ["ratings.txt.gz"])

    def test_a_foreign_directory_is_left_alone(self):
        (self.scratch / "model").mkdir()
        self.write("model/precious.txt", "keep me")
        self.refuse(["train", "run.toml"], ["output.model"])
        self.refuse(["prepare", "ratings.txt", "--out", "model"], ["model"])

    def test_a_full_output_is_an_error(self):
        self.run_well("train", "run.toml")
        commands = (["similar", "model", "--items", "1"], ["recommend", "model", "--users", "all"], ["inspect", "model"],
                    ["evaluate", "model", "--data", "ratings.txt"], ["prepare", "ratings.txt", "--out", "prepared"],
                    ["export", "model", "--format", "npy", "--out", "exported"], ["--help"], ["train", "run.toml"],
                    ["synth", "--users", 9, "--items", 9, "--entries", 20, "--out", "generated"])
        for command in commands:
            with self.subTest(command[0]), open("/dev/full", "w") as full:
                finished = self.call(*command, out=full)
                self.assertEqual(finished.returncode, 1, finished.stderr)
                self.assertIn("concerto: error: standard output: ", finished.stderr)
                if command[0] == "train":
                    self.assertIn("the model is written to model", finished.stderr)

    def test_models(self):
        self.run_well("train", "run.toml")
        commands = (["inspect", "model"], ["recommend", "model", "--users", "1"], ["similar", "model", "--items", "1"],
                    ["export", "model", "--format", "npy", "--out", "exported"],
                    ["evaluate", "model", "--data", "ratings.txt", "--metrics", "rmse"],
                    ["train", "run.toml", *settings(model={"warm_start": "model"}, output={"model": "second"})])
        for file in sorted((self.scratch / "model").iterdir()):
            content = file.read_bytes()
            middle = len(content) // 2
            for damaged in (content[:-1], content[:middle] + bytes([content[middle] ^ 0x20]) + content[middle + 1:]):
                if file.name == "manifest.json" and damaged != content[:-1]:
                    continue
                file.write_bytes(damaged)
                for command in commands:
                    if file.name != "manifest.json" or damaged.strip() != content.strip():
                        with self.subTest(f"{file.name} {command[0]}"):
                            self.refuse(command, ["model"])
            file.write_bytes(content)
        self.run_well("inspect", "model")
        self.refuse(["train", "run.toml", *settings(model={"warm_start": "model", "rank": 5}, output={"model": "second"})],
                    ["model.warm_start"])

    def test_prepared_directories(self):
        self.run_well("prepare", "ratings.txt", "--out", "prepared")
        for file in sorted((self.scratch / "prepared").iterdir()):
            content = file.read_bytes()
            if not content:
                continue
            middle = len(content) // 2
            file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1:])
            with self.subTest(file.name):
                self.refuse(["train", "run.toml", *settings(data={"train": "prepared"})], ["prepared"])
            file.write_bytes(content)
        self.run_well("train", "run.toml", *settings(data={"train": "prepared"}))


if __name__ == "__main__":
    unittest.main()
