#!/usr/bin/env python3
"""concerto doctor: alone, behind the launcher with one page for all ranks, and problems that are really there."""
import json
import re
import shutil
import subprocess
import unittest

import etcd_process
from launching import PROGRAM, LaunchingTest, clean_environment

CONFIG = """
[data]
train = "data/train"
test = "data/train"

[model]
rank = 12

[compute]
backend = "cpu"

[output]
model = "models/model"
"""


class DoctorTest(LaunchingTest):
    def setUp(self):
        super().setUp()
        for folder in ("data", "models"):
            (self.scratch / folder).mkdir()
        for words in (("synth", "--users", "900", "--items", "400", "--entries", "20000", "--rank", "4", "--out", "synthetic"),
                      ("prepare", "synthetic/train.txt", "--test", "synthetic/test.txt", "--out", "data/train")):
            finished = self.call(*words)
            self.assertEqual(finished.returncode, 0, finished.stderr)
        (self.scratch / "run.toml").write_text(CONFIG)

    def call(self, *words):
        return subprocess.run([PROGRAM, *words], cwd=self.scratch, text=True, capture_output=True, timeout=100,
                              env=clean_environment())

    def doctor(self, *options, status=0):
        """The page of a doctor that is alone, and its findings by level and check."""
        finished = self.call("doctor", "run.toml", *options)
        self.assertEqual(finished.returncode, status, finished.stdout + finished.stderr)
        return finished.stdout

    def launch_doctor(self, ranks, *options, launcher=(), status=0):
        finished = self.launch("--nproc-per-node", ranks, *launcher, "--", PROGRAM, "doctor", "run.toml", *options)
        self.assertEqual(finished.returncode, status, finished.stdout + finished.stderr)
        return finished.stdout

    def assert_problem(self, page, check, what, mend):
        self.assertRegex(page, rf"(?m)^(\[rank 0\] )?problem  {check:<13} .*{what}.*\n(\[rank 0\] )? +mend: .*{mend}")
        self.assertRegex(page, r"[1-9]\d* problems?, \d+ warnings?\n\Z")

    def test_alone(self):
        page = self.doctor()
        for check in ("interfaces", "store", "gpu", "memory", "open files", "data", "output"):
            self.assertRegex(page, rf"(?m)^ok       {check:<13} \S")
        self.assertRegex(page, r"(?m)^(ok|warning)  *name ")
        self.assertRegex(page, r"\n0 problems, \d warnings?\n\Z")
        bare = self.call("doctor")
        self.assertEqual(bare.returncode, 0, bare.stderr)
        self.assertNotIn("output", bare.stdout)

    def test_as_json(self):
        page = json.loads(self.doctor("--json", "--set", "output.model=nowhere/model", status=1))
        self.assertEqual((page["schema_version"], page["command"], len(page["facts"])), (1, "doctor", 1))
        problems = [one for one in page["findings"] if one["level"] == "problem"]
        self.assertEqual([(one["check"], one["ranks"], one["mend"]) for one in problems], [("output", [0], "output.model")])
        self.assertIn("nowhere", problems[0]["what"])

    def test_one_page_for_all_ranks(self):
        page = self.launch_doctor(3)
        self.assertTrue(all(line.startswith("[rank 0] ") for line in page.splitlines()), page)
        self.assertIn("[rank 0] 3 ranks on 1 machine\n", page)
        self.assertRegex(page, r"ok       ranks         all 3 are here\n")
        self.assertRegex(page, r"ok       store         embedded at 127.0.0.1:\d+ answers in \d+\.\d ms\n")
        self.assertRegex(page, r"ok       certificates  the certificate of a rank is good for 6 days\n")
        self.assertRegex(page, r"links         3 measured; the slowest, ranks \d and \d: \d+\.\d\d ms, \d+ MB/s\n")
        self.assertRegex(page, r"ok       clock         [-+]\d+\.\d ms from rank 0's, give or take \d+\.\d\n")
        self.assertRegex(page, r"ok       output        models/model can be written, and is shared\n")
        self.assertEqual(list((self.scratch / "models").iterdir()), [])  # nothing is left
        facts = json.loads(re.sub(r"(?m)^\[rank 0\] ", "", self.launch_doctor(2, "--json")))["facts"]
        self.assertEqual([one["rank"] for one in facts], [0, 1])

    def test_an_interface_that_is_not_there(self):
        for page in (self.doctor("--set", "cluster.network_interface=none7", status=1),
                     self.launch_doctor(2, "--set", "cluster.network_interface=none7", status=1)):
            self.assert_problem(page, "interfaces", "'none7'.*no such interface", 'cluster.network_interface = "none7": '
                                r"there are .*lo 127\.0\.0\.1")

    def test_a_memory_limit_that_is_too_low(self):
        for page in (self.doctor("--set", "compute.memory_limit_bytes=1000000", status=1),
                     self.launch_doctor(2, "--set", "compute.memory_limit_bytes=1000000", status=1)):
            self.assert_problem(page, "memory", "training at rank 12 takes about .*, beyond compute.memory_limit_bytes = 1000000",
                                r"compute.memory_limit_bytes of at least \d+")

    def test_data_that_is_not_there(self):
        page = self.doctor("--set", "data.train=nothing", status=1)
        self.assert_problem(page, "data", "nothing", "the path")

    def test_too_few_open_files(self):
        finished = self.launch("--nproc-per-node", 2, "--", "sh", "-c",
                               f"ulimit -n 40; exec {PROGRAM} doctor run.toml")
        self.assertEqual(finished.returncode, 1, finished.stderr)
        self.assert_problem(finished.stdout, "open files", "ranks 0-1: up to 72 may be needed, 40 are allowed", "nofile")

    def test_configurations_that_differ(self):
        (self.scratch / "other.toml").write_text(CONFIG.replace("rank = 12", "rank = 13"))
        finished = self.launch("--nproc-per-node", 2, "--", "sh", "-c",
                               f"case $CONCERTO_RANK in 0) exec {PROGRAM} doctor run.toml;; "
                               f"*) exec {PROGRAM} doctor other.toml;; esac")
        self.assertEqual(finished.returncode, 1, finished.stderr)
        self.assertIn("model.rank is 12 on rank 0 and 13 on rank 1", finished.stdout)

    def test_an_etcd_that_nobody_reaches(self):
        port, = etcd_process.free_ports(1)
        address = f"etcd://127.0.0.1:{port}"
        self.assert_problem(self.doctor("--set", f"cluster.store={address}", status=1), "store",
                            f"etcd at http://127.0.0.1:{port} cannot be reached", "cluster.store")
        environment = clean_environment(CONCERTO_JOB="j", CONCERTO_RANK="0", CONCERTO_WORLD_SIZE="2",
                                        CONCERTO_LOCAL_RANK="0", CONCERTO_LOCAL_SIZE="2", CONCERTO_NODE_RANK="0",
                                        CONCERTO_INCARNATION="1", CONCERTO_STORE=address)
        finished = subprocess.run([PROGRAM, "doctor", "run.toml"], cwd=self.scratch, text=True, capture_output=True,
                                  timeout=100, env=environment)
        self.assertEqual(finished.returncode, 1, finished.stderr)
        self.assert_problem(finished.stdout, "store", "cannot be reached", "rendezvous")

    @unittest.skipUnless(shutil.which("openssl"), "SKIPPED: openssl is not installed")
    def test_a_certificate_that_ends_soon(self):
        made = subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                               "-days", "1", "-subj", "/O=ca", "-keyout", "ca.key", "-out", "ca.pem"], cwd=self.scratch,
                              capture_output=True, text=True)
        self.assertEqual(made.returncode, 0, made.stderr)
        page = self.doctor("--set", "security.authority=ca.pem")
        self.assertRegex(page, r"(?m)^warning  certificates  ca.pem ends in 2[34]\.\d h\n +mend: ")

    def test_a_configuration_that_is_wrong(self):
        finished = self.call("doctor", "run.toml", "--set", "model.rank=0")
        self.assertEqual(finished.returncode, 2)
        self.assertIn("model.rank", finished.stderr)


class DoctorWithEtcdTest(DoctorTest):
    @classmethod
    def setUpClass(cls):
        if etcd_process.why_not():
            print(etcd_process.why_not(), flush=True)
            raise unittest.SkipTest(etcd_process.why_not())
        cls.etcd = etcd_process.Etcd()
        cls.addClassCleanup(cls.etcd.remove)

    def test_ranks_and_one_that_is_alone(self):
        words = f"ok       store         etcd at http://127.0.0.1:{self.etcd.port} answers in "
        self.assertIn(words, self.doctor("--set", f"cluster.store={self.etcd.address}"))
        self.assertIn(words, self.launch_doctor(2, launcher=("--rendezvous", self.etcd.address)))
        self.assertEqual(self.etcd.keys(), [])


# What does not depend on the store is tested once.
for name in dir(DoctorTest):
    if name.startswith("test_"):
        setattr(DoctorWithEtcdTest, name, None)


if __name__ == "__main__":
    unittest.main()
