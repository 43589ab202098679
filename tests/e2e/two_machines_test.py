#!/usr/bin/env python3
"""Two machines, as the kernel sees them: two network namespaces with a cable between. Launchers that join by a token, ranks
that meet over the cable, what is said of an address that leads nowhere, and encryption that is required."""
import json
import os
import subprocess
import unittest

import launching
from launching import LAUNCHER, PROGRAM, LaunchingTest, clean_environment

CONFIG = """
[data]
train = "data"

[model]
rank = 6

[solver]
inner = "cholesky"
epochs = 2

[compute]
backend = "cpu"
threads = 1
deterministic = true

[cluster]
meet_limit_ms = 30000

[output]
model = "model"
report = "report.json"
"""

SPACES = [f"concerto-{os.getpid()}-{side}" for side in "ab"]
ADDRESSES = ["10.87.0.1", "10.87.0.2"]


def ip(*words):
    return subprocess.run(["ip", *words], capture_output=True, text=True)


def why_not():
    """Nothing where namespaces can be made; what was made for the question is taken away."""
    try:
        made = ip("netns", "add", SPACES[0])
    except FileNotFoundError:
        return "SKIPPED: the program ip is not installed (Debian package iproute2)"
    ip("netns", "del", SPACES[0])
    return f"SKIPPED: no network namespaces: {made.stderr.strip()}" if made.returncode else ""


class TwoMachinesTest(LaunchingTest):
    @classmethod
    def setUpClass(cls):
        if why_not():
            print(why_not(), flush=True)
            raise unittest.SkipTest(why_not())
        for space in SPACES:
            cls.must("netns", "add", space)
            cls.addClassCleanup(ip, "netns", "del", space)
        cls.must("-n", SPACES[0], "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", SPACES[1])
        for space, address in zip(SPACES, ADDRESSES):
            cls.must("-n", space, "address", "add", f"{address}/24", "dev", "cable")
            cls.must("-n", space, "link", "set", "cable", "up")
            cls.must("-n", space, "link", "set", "lo", "up")

    @staticmethod
    def must(*words):
        done = ip(*words)
        assert done.returncode == 0, (words, done.stderr)

    def setUp(self):
        super().setUp()
        for words in (("synth", "--users", "300", "--items", "200", "--entries", "5000", "--rank", "4", "--out", "synthetic"),
                      ("prepare", "synthetic/train.txt", "--out", "data")):
            done = subprocess.run([PROGRAM, *words], cwd=self.scratch, capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, done.stderr)
        (self.scratch / "run.toml").write_text(CONFIG)

    def on_both(self, *command):
        """(status, output, errors) of the launcher of each machine."""
        processes = []
        for node, space in enumerate(SPACES):
            words = ["ip", "netns", "exec", space, LAUNCHER, "--nnodes", "2", "--node-rank", str(node), "--rendezvous",
                     f"{ADDRESSES[0]}:29433",  # nobody else is in the namespace
                     "--join-file", "join", "--join-limit", "60", "--nproc-per-node", "2", "--",
                     *command]
            process = subprocess.Popen(words, cwd=self.scratch, text=True, stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_environment())
            self.addCleanup(self.end, process)
            processes.append(process)
        finished = []
        for process in processes:
            out, err = process.communicate(timeout=launching.SECONDS)
            finished.append((process.returncode, out, err))
        return finished

    def train(self, *options):
        return self.on_both(PROGRAM, "train", "run.toml", *options)

    def test_one_model_over_the_cable(self):
        alone = subprocess.run([PROGRAM, "train", "run.toml", "--set", "output.model=alone"], cwd=self.scratch,
                               capture_output=True, text=True, timeout=60, env=clean_environment())
        self.assertEqual(alone.returncode, 0, alone.stderr)
        for status, _, err in self.train("--set", "cluster.network_interface=cable"):
            self.assertEqual(status, 0, err)
        factors = [{path.name: path.read_bytes() for path in (self.scratch / model).glob("*.bin")}
                   for model in ("alone", "model")]
        self.assertEqual(*factors)
        replication = json.loads((self.scratch / "report.json").read_text())["replication"]
        self.assertEqual((replication["ranks"], replication["encrypted"], replication["links_in_the_clear"]),
                         (4, False, ["10.87.0.1 - 10.87.0.2"]))

    def test_encryption_that_is_required(self):
        wanted = ("--set", "cluster.network_interface=cable", "--set", "security.require_encryption=true")
        for status, _, err in self.train(*wanted):
            self.assertEqual(status, 2, err)
            self.assertIn("security.require_encryption: gloo would send factors in the clear over 10.87.0.1 - 10.87.0.2; "
                          "set security.trusted_fabric = true if nobody listens on that network", err)
        for status, _, err in self.train(*wanted, "--set", "security.trusted_fabric=true"):
            self.assertEqual(status, 0, err)

    def test_a_name_that_leads_nowhere_from_the_other_machine(self):
        # Both have this machine's name. Where that leads is this machine's affair, but not to the cable.
        for status, _, err in self.train():
            self.assertEqual(status, 2, err)
            self.assertRegex(err, r"error: cluster.network_interface: rank \d ")

    def test_doctor_tells_of_both(self):
        (status, page, _), (other, rest, _) = self.on_both(PROGRAM, "doctor", "run.toml", "--set",
                                                           "cluster.network_interface=cable")
        self.assertEqual((status, other, rest), (0, 0, ""), page)
        self.assertIn("4 ranks on 2 machines\n", page)
        self.assertRegex(page, r"ok       interfaces    cable is 10\.87\.0\.1\n")
        self.assertRegex(page, r"ok       links         6 measured; the slowest, ")
        self.assertRegex(page, r"ok       encryption    factors go in the clear over 1 link, which is allowed\n")
        (status, page, _), _ = self.on_both(PROGRAM, "doctor", "run.toml")
        self.assertEqual(status, 1, page)
        self.assertRegex(page, r"problem  (name|links) ")


if __name__ == "__main__":
    unittest.main()
