#!/usr/bin/env python3
"""Training with cluster.collectives = "nccl": the model that Gloo gives, to the byte, and what is said where NCCL cannot
be used. NCCL and CUDA's runtime are the tests' own (tests/support/fake_nccl), which the program loads as real ones."""
import json
import os
import pathlib
import re
import signal
import unittest

from launching import PROGRAM, LaunchingTest, children_of, clean_environment

CONFIG = """
[data]
train = "data"

[model]
rank = 12
regularization = 0.05

[solver]
kind = "{kind}"
inner = "cholesky"
slice = 5
epochs = {epochs}

[compute]
backend = "cpu"
threads = 1
deterministic = {deterministic}

[replication]
collective = "{collective}"

[cluster]
heartbeat_ms = 500
dead_after_ms = 5000

[output]
model = "model"
report = "report.json"
"""
NCCL = ("--set", "cluster.collectives=nccl")


class NcclTest(LaunchingTest):
    def setUp(self):
        super().setUp()
        libraries = self.scratch / "lib"
        libraries.mkdir()
        (libraries / "libnccl.so.2").symlink_to(os.environ["CONCERTO_FAKE_NCCL"])
        (libraries / "libcudart.so.13").symlink_to(os.environ["CONCERTO_FAKE_CUDART"])
        self.environment = clean_environment(LD_LIBRARY_PATH=str(libraries), FAKE_NCCL_PROCESSES="1")
        for arguments in (("synth", "--users", 900, "--items", 400, "--entries", 20000, "--rank", 4, "--out", "text"),
                          ("prepare", "text/train.txt", "--out", "data")):
            self.run_ranks(1, *arguments)

    def run_ranks(self, ranks, *command, devices=None):
        """Runs the program; each rank has a device of its own unless `devices` says otherwise."""
        shown = devices or ",".join(map(str, range(ranks)))
        return self.launch("--nproc-per-node", ranks, "--devices", shown, "--", PROGRAM, *command,
                           environment=self.environment)

    def configure(self, kind="als", collective="factors", epochs=3):
        # Sums of partials depend on the number of ranks, which is the same here.
        deterministic = "false" if collective == "grams" else "true"
        (self.scratch / "run.toml").write_text(CONFIG.format(kind=kind, collective=collective, epochs=epochs,
                                                             deterministic=deterministic))

    def train(self, ranks, *options, kind="als", collective="factors", epochs=3, **more):
        self.configure(kind=kind, collective=collective, epochs=epochs)
        return self.run_ranks(ranks, "train", "run.toml", *options, **more)

    def trained(self, ranks, *options, **more):
        """The files of the model but for the manifest, which holds the configuration; and the report."""
        finished = self.train(ranks, *options, **more)
        self.assertEqual(finished.returncode, 0, finished.stderr)
        files = {path.name: path.read_bytes() for path in (self.scratch / "model").iterdir()}
        del files["manifest.json"]
        self.assertGreaterEqual(len(files), 4)
        return files, json.loads((self.scratch / "report.json").read_text())

    def test_the_model_is_that_of_gloo(self):
        for ranks, how in ((2, {}), (3, {}), (2, {"collective": "grams"}), (2, {"kind": "subspace"}),
                           (2, {"kind": "sgd"}), (6, {"kind": "sgd"})):
            with self.subTest(ranks=ranks, **how):
                expected, by_gloo = self.trained(ranks, "--set", "cluster.collectives=gloo", **how)
                files, by_nccl = self.trained(ranks, *NCCL, **how)
                self.assertEqual(files, expected)
                self.assertEqual(by_gloo["replication"]["collectives"], "gloo")
                self.assertEqual(by_nccl["replication"]["collectives"], "nccl")
                self.assertEqual(by_nccl["replication"]["ranks"], ranks)
                self.assertGreater(sum(by_nccl["replication"]["bytes_sent"]), 0)

    def test_auto_is_gloo_where_ranks_compute_on_the_cpu(self):
        finished = self.train(2)
        self.assertEqual(finished.returncode, 0, finished.stderr)
        self.assertRegex(finished.stderr, "gloo connects them")

    def test_ranks_that_share_a_device_say_so(self):
        finished = self.train(2, *NCCL, devices="none")
        self.assertEqual(finished.returncode, 2, finished.stderr)
        self.assertRegex(finished.stderr, r'cluster.collectives = "nccl": ranks 0 and 1 on \S+ share the GPU at '
                                          r"0000:00:00.0, and NCCL connects only ranks with one each")

    def test_where_nccl_cannot_be_used_is_said_with_the_reason(self):
        library = self.scratch / "lib" / "libnccl.so.2"
        library.unlink()
        library.symlink_to(os.environ["CONCERTO_FAKE_CUDART"])  # one that is no NCCL
        finished = self.train(2, *NCCL)
        self.assertNotEqual(finished.returncode, 0, finished.stderr)
        self.assertRegex(finished.stderr,
                         r'cluster.collectives = "nccl": rank 0 on \S+: libnccl.so.2 has no ncclGetVersion')
        self.assertFalse((self.scratch / "model").exists())

    def test_a_killed_rank_ends_the_run_and_is_named(self):
        self.configure(epochs=1000000)
        self.environment["CUDA_VISIBLE_DEVICES"] = "0,1"
        process = self.start("--nproc-per-node", 2, "--", PROGRAM, "train", "run.toml", *NCCL,
                             environment=self.environment)
        seen = []
        while not any("epoch 3/" in line for line in seen):
            seen.append(process.stderr.readline())
            self.assertTrue(seen[-1], seen)
        (victim,) = [child for guard in children_of(process.pid) for child in [guard, *children_of(guard)]
                     if self.is_rank(child, 1)]
        os.kill(victim, signal.SIGKILL)
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 128 + 9)
        self.assertTrue(re.search(rf"rank 1 \(process {victim}\) ended with signal 9", err), err)
        self.assertFalse((self.scratch / "model").exists())

    @staticmethod
    def is_rank(process, rank):
        try:
            return f"CONCERTO_RANK={rank}" in pathlib.Path(f"/proc/{process}/environ").read_text().split("\0")
        except OSError:
            return False


if __name__ == "__main__":
    unittest.main()
