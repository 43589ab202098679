#!/usr/bin/env python3
"""A job on two machines, which are network namespaces: one model, a cut wire that ends the run on both in time, encryption
that is required, and what doctor says of the two."""
import json
import pathlib
import subprocess
import sys
import unittest

from launching import LAUNCHER, PROGRAM, LaunchingTest, clean_environment

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from two_machines import TwoMachines, obstacle  # noqa: E402

CONFIG = """
[data]
train = "synthetic/train.txt"

[model]
rank = 12

[solver]
kind = "als"
inner = "cholesky"
epochs = {epochs}

[compute]
backend = "cpu"
threads = 1

[cluster]
network_interface = "{interface}"
heartbeat_ms = 500
dead_after_ms = 3000

[output]
model = "model"
"""
WHY_NOT = obstacle()


@unittest.skipIf(WHY_NOT, f"SKIPPED: {WHY_NOT}")
class TwoMachinesTest(LaunchingTest):
    def setUp(self):
        super().setUp()
        self.machines = TwoMachines()
        self.addCleanup(self.machines.close)
        self.run_program("synth", "--users", 900, "--items", 400, "--entries", 20000, "--rank", 4, "--out", "synthetic")

    def configure(self, epochs):
        (self.scratch / "run.toml").write_text(CONFIG.format(epochs=epochs, interface=TwoMachines.INTERFACE))

    def run_program(self, *arguments):
        finished = subprocess.run([PROGRAM, *map(str, arguments)], cwd=self.scratch, text=True, capture_output=True,
                                  timeout=60, env=clean_environment())
        self.assertEqual(finished.returncode, 0, finished.stderr)

    def on_both(self, *command):
        """(status, output, errors) of the launcher of each machine."""
        processes = [self.start_on(machine, *command) for machine in (0, 1)]
        finished = []
        for process in processes:
            out, err = process.communicate(timeout=100)
            finished.append((process.returncode, out, err))
        return finished

    def start_on(self, machine, *command):
        process = subprocess.Popen(
            [*self.machines.within(machine), LAUNCHER, "--nnodes", "2", "--node-rank", str(machine), "--rendezvous",
             f"{self.machines.addresses[0]}:4711", "--join-file", "join", "--nproc-per-node", "1", "--",
             *(command or (PROGRAM, "train", "run.toml"))],
            cwd=self.scratch, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=clean_environment())
        self.addCleanup(self.end, process)
        return process

    def test_two_machines_write_the_model_of_one_process(self):
        self.configure(epochs=3)
        self.run_program("train", "run.toml", "--set", "output.model=alone")
        processes = [self.start_on(machine) for machine in (0, 1)]
        for process in processes:
            _, err = process.communicate(timeout=100)
            self.assertEqual(process.returncode, 0, err)
        written = {path.name: path.read_bytes() for path in (self.scratch / "model").glob("*.bin")}
        self.assertEqual(written, {path.name: path.read_bytes() for path in (self.scratch / "alone").glob("*.bin")})
        self.assertGreaterEqual(len(written), 4)

    def test_encryption_that_is_required(self):
        self.configure(epochs=1)
        wanted = (PROGRAM, "train", "run.toml", "--set", "security.require_encryption=true", "--set", "output.report=report")
        for collectives, plain, said in (("gloo", "false", "gloo would"),
                                         ("channel", "true", "channel, with security.plain_channel, would")):
            for status, _, err in self.on_both(*wanted, "--set", f"cluster.collectives={collectives}", "--set",
                                               f"security.plain_channel={plain}"):
                self.assertEqual(status, 2, err)
                self.assertIn(f"security.require_encryption: {said} send factors in the clear over 198.18.77.1 - "
                              "198.18.77.2; set security.trusted_fabric = true if nobody listens on that network", err)
        factors = []
        for options, expected in (((), ("channel", 2, True, [])),
                                  (("--set", "security.trusted_fabric=true"),
                                   ("gloo", 2, False, ["198.18.77.1 - 198.18.77.2"]))):
            for status, _, err in self.on_both(*wanted, *options):
                self.assertEqual(status, 0, err)
            replication = json.loads((self.scratch / "report").read_text())["replication"]
            self.assertEqual((replication["collectives"], replication["ranks"], replication["encrypted"],
                              replication["links_in_the_clear"]), expected)
            factors.append({path.name: path.read_bytes() for path in (self.scratch / "model").glob("*.bin")})
        self.assertEqual(*factors)

    def test_a_name_that_leads_nowhere_from_the_other_machine(self):
        # Both have this machine's name, which leads somewhere, but not to the link.
        self.configure(epochs=1)
        for status, _, err in self.on_both(PROGRAM, "train", "run.toml", "--set", "cluster.network_interface="):
            self.assertEqual(status, 2, err)
            self.assertRegex(err, r"error: cluster.network_interface: rank \d ")

    def test_doctor_tells_of_both(self):
        self.configure(epochs=1)
        (status, page, _), (other, rest, _) = self.on_both(PROGRAM, "doctor", "run.toml")
        self.assertEqual((status, other, rest), (0, 0, ""), page)
        self.assertIn("2 ranks on 2 machines\n", page)
        self.assertRegex(page, r"ok       interfaces    link0 is 198\.18\.77\.1\n")
        self.assertRegex(page, r"ok       links         1 measured; the slowest, ranks 0 and 1: ")
        self.assertRegex(page, r"ok       encryption    factors go in the clear over 1 link, which is allowed\n")
        (status, page, _), _ = self.on_both(PROGRAM, "doctor", "run.toml", "--set", "security.require_encryption=true")
        self.assertEqual(status, 0, page)
        self.assertRegex(page, r"ok       links         1 measured; ")
        self.assertRegex(page, r"ok       encryption    factors go encrypted over 1 link, by channel\n")
        (status, page, _), _ = self.on_both(PROGRAM, "doctor", "run.toml", "--set", "cluster.network_interface=")
        self.assertEqual(status, 1, page)
        self.assertRegex(page, r"problem  (name|links) ")

    def test_a_cut_wire_ends_the_run_on_both(self):
        self.configure(epochs=1000000)
        processes = [self.start_on(machine) for machine in (0, 1)]
        seen = []
        while not any("epoch 3/" in line for line in seen):
            line = processes[0].stderr.readline()
            self.assertTrue(line, seen)
            seen.append(line)
        self.machines.cut()
        for process in processes:
            _, err = process.communicate(timeout=100)
            self.assertNotEqual(process.returncode, 0, err)
            self.assertRegex(err, r"rank [01] is dead|node [01]|the store is gone|heartbeat")
        self.assertFalse((self.scratch / "model").exists())


if __name__ == "__main__":
    unittest.main()
