#!/usr/bin/env python3
"""Jobs whose store is a real etcd: one model, several launchers, what an earlier run left, and what is refused."""
import os
import shutil
import signal
import subprocess
import unittest

import etcd_process
from launching import PROGRAM, LaunchingTest, children_of, clean_environment

CONFIG = """
[data]
train = "data/train"

[model]
rank = 6

[solver]
inner = "cholesky"
epochs = 3

[compute]
backend = "cpu"
threads = 1
deterministic = true

[output]
model = "model"
"""

ECHO = "echo $CONCERTO_JOB $CONCERTO_RANK/$CONCERTO_WORLD_SIZE at $CONCERTO_STORE"


class EtcdTest(LaunchingTest):
    @classmethod
    def setUpClass(cls):
        if etcd_process.why_not():
            print(etcd_process.why_not(), flush=True)
            raise unittest.SkipTest(etcd_process.why_not())
        cls.etcd = cls.make_etcd()
        cls.addClassCleanup(cls.etcd.remove)

    @classmethod
    def make_etcd(cls):
        return etcd_process.Etcd()

    def words(self, node, *options, job="night", nodes=2):
        return ["--nnodes", nodes, "--node-rank", node, "--rendezvous", self.etcd.address, "--job", job, "--lost-after",
                1, "--join-limit", 60, *options]

    def start_launcher(self, node, script, *options, **more):
        return self.start(*self.words(node, *options, **more), "--", "sh", "-c", script)

    def results(self, *processes):
        finished = []
        for process in processes:
            out, err = process.communicate(timeout=100)
            finished.append((process.returncode, out, err))
        return finished

    def private(self, name, text):
        path = self.scratch / name
        path.write_text(text)
        path.chmod(0o600)
        return path


class LaunchersTest(EtcdTest):
    def test_launchers_find_each_other_and_leave_nothing(self):
        second = self.start_launcher(1, ECHO)  # before there is anything to join
        first = self.start_launcher(0, ECHO)
        lines = []
        for status, out, err in self.results(first, second):
            self.assertEqual((status, err), (0, ""))
            lines += out.splitlines()
        self.assertEqual(sorted(lines), [f"[rank {rank}] night {rank}/2 at {self.etcd.address}" for rank in range(2)])
        self.assertEqual(self.etcd.keys(), [])

    def test_what_a_job_that_was_killed_left_is_waited_out_and_cleared(self):
        script = "echo $$ > rank$CONCERTO_RANK; exec sleep 1000"
        dead = [self.start_launcher(node, script) for node in (0, 1)]
        ranks = self.await_files("rank0", "rank1")
        for process in dead:
            for launcher in children_of(process.pid):
                os.kill(launcher, signal.SIGKILL)
        self.results(*dead)
        self.assert_gone(*ranks)
        self.etcd.put("/concerto/night/keys/launchers/failure", '{"node":0,"rank":0,"status":7,"message":"old",'
                                                                '"last_lines":[]}')
        self.assertIn("/concerto/night/keys/incarnations/0", self.etcd.keys())
        for status, _, err in self.results(self.start_launcher(1, "true"), self.start_launcher(0, "true")):
            self.assertEqual((status, err), (0, ""))
        self.assertEqual(self.etcd.keys(), [])

    def test_a_name_that_is_taken_is_refused(self):
        running = self.start_launcher(0, "echo $$ > here; exec sleep 1000", nodes=1)
        self.await_files("here")
        (status, _, err), = self.results(self.start_launcher(0, "true", nodes=1))
        self.assertEqual(status, 2)
        self.assertRegex(err, r"\Aconcerto-launch: error: --job: job night is running already: process \d+ on \S+ has the "
                              r"name; give this run another one\n\Z")
        running.send_signal(signal.SIGTERM)
        self.assertEqual(self.results(running)[0][0], 143)

    def test_a_first_launcher_that_is_gone_is_lost(self):
        script = "echo $$ > rank$CONCERTO_RANK; exec sleep 1000"
        first, second = [self.start_launcher(node, script) for node in (0, 1)]
        ranks = self.await_files("rank0", "rank1")
        for launcher in children_of(first.pid):
            os.kill(launcher, signal.SIGKILL)
        (_, _, _), (status, _, err) = self.results(first, second)
        self.assertEqual(status, 1)
        self.assertIn("error: node 0: the launcher of node 0 is lost: nothing was heard of it for 1 s\n", err)
        self.assert_gone(*ranks)

    def test_a_failure_reaches_all(self):
        first = self.start_launcher(0, "exec sleep 1000")
        second = self.start_launcher(1, "exit 5")
        for status, _, err in self.results(first, second):
            self.assertEqual(status, 5)
            self.assertRegex(err, r"error: node 1: rank 1 \(process \d+\) ended with status 5")

    def test_launchers_of_different_plans_do_not_go_together(self):
        first = self.start_launcher(0, "exec sleep 1000")
        (status, _, err), = self.results(self.start_launcher(1, "true", "--nproc-per-node", 3))
        self.assertEqual(status, 2)
        self.assertIn("launcher 0 was told of 2 launchers and 2 ranks, launcher 1 of 2 launchers and 6 ranks", err)
        # Launcher 0 would wait a while for the other to take note of the end; asked again, it does not.
        self.await_that(lambda: first.poll() is not None or first.send_signal(signal.SIGTERM), "the end")
        self.results(first)

    def test_several_launchers_need_a_name(self):
        finished = self.launch("--nnodes", 2, "--node-rank", 0, "--rendezvous", self.etcd.address, "--", "true")
        self.assertEqual(finished.returncode, 2)
        self.assertIn("error: --job: is needed with etcd and several launchers", finished.stderr)

    def test_nobody_at_the_address(self):
        port, = etcd_process.free_ports(1)
        finished = self.launch("--rendezvous", f"etcd://127.0.0.1:{port}", "--", "true")
        self.assertEqual(finished.returncode, 1)
        self.assertRegex(finished.stderr, rf"\Aconcerto-launch: error: --rendezvous: etcd at http://127.0.0.1:{port} cannot be "
                                          r"reached: .*\n\Z")


class TrainingTest(EtcdTest):
    def setUp(self):
        super().setUp()
        (self.scratch / "data").mkdir()
        self.run_well("synth", "--users", 300, "--items", 200, "--entries", 5000, "--rank", 4, "--out", "synthetic")
        self.run_well("prepare", "synthetic/train.txt", "--out", "data/train")
        (self.scratch / "run.toml").write_text(CONFIG)

    def run_well(self, *arguments):
        finished = subprocess.run([PROGRAM, *map(str, arguments)], cwd=self.scratch, text=True, capture_output=True,
                                  timeout=60, env=clean_environment())
        self.assertEqual(finished.returncode, 0, finished.stderr)

    def factors(self, model):
        return {path.name: path.read_bytes() for path in (self.scratch / model).glob("*.bin")}

    def train(self, *options, launcher=()):
        return self.launch("--nproc-per-node", 2, *launcher, "--", PROGRAM, "train", "run.toml", *options)

    def test_ranks_meet_in_etcd_and_write_the_model_of_one_process(self):
        self.run_well("train", "run.toml", "--set", "output.model=alone")
        for attempt in range(2):  # under the same name
            finished = self.train("--set", f"cluster.store={self.etcd.address}",
                                  launcher=("--rendezvous", self.etcd.address, "--job", "again"))
            self.assertEqual(finished.returncode, 0, finished.stderr)
            self.assertEqual(self.factors("model"), self.factors("alone"))
            self.assertEqual([key for key in self.etcd.keys() if "/again/" in key], [])

    def test_a_store_that_is_not_the_launchers_is_refused(self):
        finished = self.train("--set", f"cluster.store={self.etcd.address}")
        self.assertEqual(finished.returncode, 2, finished.stderr)
        self.assertRegex(finished.stderr, rf"error: cluster.store: is {self.etcd.address}, but the launcher's is embedded://"
                                          rf"\S+; start the job with concerto-launch --rendezvous {self.etcd.address}\n")

    def test_a_rank_without_a_launcher_takes_the_configured_store(self):
        port, = etcd_process.free_ports(1)
        environment = clean_environment(CONCERTO_JOB="j", CONCERTO_RANK="0", CONCERTO_WORLD_SIZE="1",
                                        CONCERTO_LOCAL_RANK="0", CONCERTO_LOCAL_SIZE="1", CONCERTO_NODE_RANK="0",
                                        CONCERTO_INCARNATION="1")
        for address, status, words in ((self.etcd.address, 0, ""),
                                       (f"etcd://127.0.0.1:{port}", 1,
                                        f"error: cluster.store: etcd at http://127.0.0.1:{port} cannot be reached: ")):
            finished = subprocess.run([PROGRAM, "train", "run.toml", "--set", f"cluster.store={address}"],
                                      cwd=self.scratch, text=True, capture_output=True, timeout=60, env=environment)
            self.assertEqual(finished.returncode, status, finished.stderr)
            self.assertIn(words, finished.stderr)


class CertificatesTest(TrainingTest):
    """An etcd that encrypts, and asks for certificates."""

    @classmethod
    def setUpClass(cls):
        if not shutil.which("openssl"):
            print("SKIPPED: openssl is not installed", flush=True)
            raise unittest.SkipTest("SKIPPED: openssl is not installed")
        super().setUpClass()

    @classmethod
    def make_etcd(cls):
        return etcd_process.Etcd(has_tls=True)

    test_ranks_meet_in_etcd_and_write_the_model_of_one_process = None
    test_a_store_that_is_not_the_launchers_is_refused = None
    test_a_rank_without_a_launcher_takes_the_configured_store = None

    def train_with(self, *options, authority="authority", certificate="client"):
        folder = self.etcd.folder
        return self.train(*options, launcher=("--rendezvous", f"etcd://127.0.0.1:{self.etcd.tls_port}", "--store-authority",
                                              folder / f"{authority}.pem", "--store-certificate",
                                              folder / f"{certificate}.pem", "--store-key", folder / f"{certificate}.key"))

    def test_launcher_and_ranks_show_the_launchers_certificate(self):
        finished = self.train_with()
        self.assertEqual(finished.returncode, 0, finished.stderr)
        self.assertTrue((self.scratch / "model" / "manifest.json").exists())

    def test_what_does_not_fit_is_refused(self):
        refusal = f"etcd at https://127.0.0.1:{self.etcd.tls_port} refuses: "
        for more in ({"authority": "other"}, {"certificate": "stranger"}):
            finished = self.train_with(**more)
            self.assertEqual(finished.returncode, 1, finished.stderr)
            self.assertIn(f"error: --rendezvous: {refusal}", finished.stderr)
        finished = self.train_with("--set", f"security.authority={self.etcd.folder / 'other.pem'}")
        self.assertEqual(finished.returncode, 1, finished.stderr)
        self.assertIn(f"error: CONCERTO_STORE: {refusal}", finished.stderr)


class PasswordsTest(TrainingTest):
    """An etcd that asks who is there."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.etcd.add_user("trainer", "right", "/concerto/night/")
        cls.etcd.ask_for_passwords()

    test_ranks_meet_in_etcd_and_write_the_model_of_one_process = None
    test_a_store_that_is_not_the_launchers_is_refused = None
    test_a_rank_without_a_launcher_takes_the_configured_store = None

    def train_as(self, login, *options, job="night"):
        return self.train(*options, launcher=("--rendezvous", self.etcd.address, "--job", job, "--store-credentials",
                                              login))

    def test_a_user_with_rights_to_its_job_alone(self):
        login = self.private("login", "trainer:right\n")
        finished = self.train_as(login)
        self.assertEqual(finished.returncode, 0, finished.stderr)
        self.assertTrue((self.scratch / "model" / "manifest.json").exists())
        finished = self.train_as(login, job="another")
        self.assertEqual(finished.returncode, 2)
        self.assertIn("error: --store-credentials: etcd's user may not use /concerto/another/: ", finished.stderr)

    def test_a_wrong_password(self):
        wrong = self.private("wrong", "trainer:left\n")
        finished = self.train_as(wrong)
        self.assertEqual(finished.returncode, 2)
        self.assertIn(f"error: --store-credentials: etcd refuses the user or the password in {wrong}: ", finished.stderr)
        self.assertNotIn("left", finished.stderr)
        finished = self.train_as(self.private("login", "trainer:right\n"), "--set", f"security.credentials={wrong}")
        self.assertEqual(finished.returncode, 2)
        self.assertIn(f"error: security.credentials: etcd refuses the user or the password in {wrong}: ", finished.stderr)

    def test_no_password(self):
        finished = self.train(launcher=("--rendezvous", self.etcd.address))
        self.assertEqual(finished.returncode, 2)
        self.assertIn("error: --store-credentials: etcd asks for a user and a password, and no file is named: ",
                      finished.stderr)

    def test_a_file_that_others_can_read(self):
        login = self.private("login", "trainer:right\n")
        login.chmod(0o644)
        finished = self.train_as(login)
        self.assertEqual(finished.returncode, 2)
        self.assertIn("can be read or written by others", finished.stderr)


if __name__ == "__main__":
    unittest.main()
