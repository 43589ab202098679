#!/usr/bin/env python3
"""Several launchers of one job, as on several machines, over real TLS: they find each other by the join file, end alike,
and notice who is gone."""
import os
import re
import signal
import socket
import subprocess
import unittest

from launching import LAUNCHER, LaunchingTest, children_of, clean_environment


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class SeveralLaunchersTest(LaunchingTest):
    def setUp(self):
        super().setUp()
        self.port = free_port()
        self.join = self.scratch / "join"

    def words(self, node, nodes=2, ranks=1, join_limit=60, options=()):
        return ["--nnodes", nodes, "--node-rank", node, "--rendezvous", f"127.0.0.1:{self.port}", "--join-file", self.join,
                "--nproc-per-node", ranks, "--join-limit", join_limit, *options]

    def start_with_token(self, token, script="true", node=1, **more):
        """A launcher that is told no file."""
        words = [word for word in self.words(node, **more) if word not in ("--join-file", self.join)]
        process = subprocess.Popen([LAUNCHER, *map(str, words), "--", "sh", "-c", script], cwd=self.scratch, text=True,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env=clean_environment(CONCERTO_JOIN_TOKEN=token))
        self.addCleanup(self.end, process)
        return process

    def token(self):
        self.await_that(self.join.exists, "the join file")
        return self.join.read_text().strip()

    def assert_refused(self, token, words, status=2, **more):
        (code, _, err), = self.results(self.start_with_token(token, **more))
        self.assertEqual(code, status, err)
        self.assertRegex(err, rf"\Aconcerto-launch: error: CONCERTO_JOIN_TOKEN: .*{words}\n\Z")
        for secret in re.findall("secret=(\\w{16,})", token):
            self.assertNotIn(secret, err)

    def stop(self, process):
        """Launcher 0 would wait a while for the other to take note of the end; asked again, it does not."""
        self.await_that(lambda: process.poll() is not None or process.send_signal(signal.SIGTERM), "the end")
        self.results(process)

    def start_launcher(self, node, script, **more):
        return self.start(*self.words(node, **more), "--", "sh", "-c", script)

    def results(self, *processes):
        """(status, output, errors) of each."""
        finished = []
        for process in processes:
            out, err = process.communicate(timeout=100)
            finished.append((process.returncode, out, err))
        return finished

    def test_success_of_all(self):
        script = "echo $CONCERTO_JOB $CONCERTO_RANK/$CONCERTO_WORLD_SIZE $CONCERTO_LOCAL_RANK on $CONCERTO_NODE_RANK at $CONCERTO_STORE"
        last = self.start_launcher(2, script, nodes=3, ranks=2)  # before there is anything to join
        middle = self.start_launcher(1, script, nodes=3, ranks=2)
        first = self.start_launcher(0, script, nodes=3, ranks=2)
        lines = []
        for status, out, err in self.results(first, middle, last):
            self.assertEqual((status, err), (0, ""))
            lines += out.splitlines()
        job = lines[0].split()[2]
        self.assertEqual(sorted(lines), [f"[rank {rank}] {job} {rank}/6 {rank % 2} on {rank // 2} at "
                                         f"embedded://127.0.0.1:{self.port}" for rank in range(6)])
        self.assertFalse(self.join.exists())

    def test_all_wait_for_the_last(self):
        first = self.start_launcher(0, "true")
        second = self.start_launcher(1, "echo $$ > here; while [ ! -e go ]; do sleep 0.05; done; exit 6")
        self.await_files("here")  # ranks start when all launchers have joined
        self.assertIsNone(first.poll())
        (self.scratch / "go").touch()
        for status, _, err in self.results(first, second):
            self.assertEqual(status, 6)
            self.assertRegex(err, r"error: node 1: rank 1 \(process \d+\) ended with status 6\n")

    def test_a_failure_ends_the_ranks_everywhere_with_one_message(self):
        script = ("echo $$ > rank$CONCERTO_RANK; while [ ! -s rank3 ]; do sleep 0.05; done;"
                  "[ $CONCERTO_RANK = 2 ] && { echo why >&2; exit 5; }; exec sleep 1000")
        first = self.start_launcher(0, script, ranks=2)
        second = self.start_launcher(1, script, ranks=2)
        messages = []
        for status, _, err in self.results(first, second):
            self.assertEqual(status, 5, err)
            messages.append(err[err.index("concerto-launch: error: "):])
        self.assertEqual(*messages)
        self.assertRegex(messages[0], r"\Aconcerto-launch: error: node 1: rank 2 \(process \d+\) ended with status 5; its "
                                      r"last lines:\nconcerto-launch:   \| why\n\Z")
        self.assert_gone(*self.await_files("rank0", "rank1", "rank3"))

    def start_two(self, *options):
        script = "echo $$ > rank$CONCERTO_RANK; exec sleep 1000"
        processes = [self.start_launcher(node, script, options=options) for node in (0, 1)]
        return processes, self.await_files("rank0", "rank1")

    def test_a_killed_launcher_is_named(self):
        (first, second), ranks = self.start_two()
        second.kill()
        (status, _, err), = self.results(first)
        self.assertEqual(status, 137)
        self.assertIn("error: node 1: the process that guards the launcher is gone\n", err)
        self.assert_gone(*ranks)

    def test_a_launcher_that_is_gone_without_a_word_is_lost(self):
        (first, second), ranks = self.start_two("--lost-after", "1")
        os.kill(children_of(second.pid)[0], signal.SIGKILL)
        (status, _, err), = self.results(first)
        self.assertEqual(status, 1)
        self.assertIn("error: node 1: the launcher of node 1 is lost: nothing was heard of it for 1 s\n", err)
        self.assert_gone(*ranks)

    def test_the_first_launcher_killed_ends_the_others(self):
        (first, second), ranks = self.start_two("--lost-after", "1")
        os.kill(children_of(first.pid)[0], signal.SIGKILL)
        (status, _, err), = self.results(second)
        self.assertEqual(status, 1)
        self.assertIn("error: node 0: the job's store, in launcher 0, is lost: ", err)
        self.assert_gone(*ranks)

    def test_ctrl_c_at_one_ends_all(self):
        (first, second), ranks = self.start_two()
        second.send_signal(signal.SIGINT)
        for status, _, err in self.results(first, second):
            self.assertEqual(status, 130)
            self.assertIn("error: node 1: interrupted by SIGINT; rank 1 ", err)
        self.assert_gone(*ranks)

    def test_a_launcher_that_does_not_come(self):
        first = self.start_launcher(0, "exec sleep 1000", join_limit=1)
        (status, _, err), = self.results(first)
        self.assertEqual(status, 1)
        self.assertIn("error: node 1: the launcher of node 1 is lost: it has not joined within 1 s\n", err)
        self.assertFalse(self.join.exists())

    def test_nobody_to_join(self):
        second = self.start_launcher(1, "true", join_limit=0.3)
        (status, _, err), = self.results(second)
        self.assertEqual(status, 1)
        self.assertRegex(err, r"\Aconcerto-launch: error: --join-file: launcher 0 was not found within 0.3 s: .*\n\Z")
        waiting = self.start_launcher(1, "true")
        self.await_that(lambda: children_of(waiting.pid), "the launcher to wait")
        waiting.send_signal(signal.SIGINT)
        (status, _, err), = self.results(waiting)
        self.assertEqual(status, 130)

    def test_a_file_left_over_from_another_job_is_waited_out(self):
        dead = self.start_launcher(0, "exec sleep 1000")
        self.await_that(self.join.exists, "the join file")
        left_over = self.join.read_bytes()
        os.kill(children_of(dead.pid)[0], signal.SIGKILL)
        dead.wait()
        self.join.write_bytes(left_over)
        self.join.chmod(0o600)
        second = self.start_launcher(1, "true")
        first = self.start_launcher(0, "true")
        for status, _, err in self.results(first, second):
            self.assertEqual((status, err), (0, ""))

    def test_the_token_may_come_from_the_environment_and_goes_no_further(self):
        first = self.start_launcher(0, "echo -$CONCERTO_JOIN_TOKEN-")
        second = self.start_with_token(self.token(), "echo -$CONCERTO_JOIN_TOKEN-; tr '\\0' '\\n' < /proc/self/environ")
        for status, out, err in self.results(first, second):
            self.assertEqual((status, err), (0, ""))
            self.assertIn("] --\n", out)
            self.assertNotIn("secret=", out)

    def test_each_wrong_token_has_an_error_of_its_own(self):
        first = self.start_launcher(0, "exec sleep 1000")
        token = self.token()
        self.assert_refused("nonsense", "no join token: it does not begin with concerto-join://")
        self.assert_refused(token[:-3], "the secret is not 64 lower-case hexadecimal digits; was it cut off\\?")
        self.assert_refused(token[:-64] + "0" * 64, "the secret of the join token is not this job's")
        self.assert_refused(re.sub("authority=.{64}", "authority=" + "0" * 64, token),
                            "is not of the job of the join token: its authority has another fingerprint")
        self.assert_refused(token, "the join token is of job local-\\w+, not another",
                            options=("--job", "another"))
        self.stop(first)

    def test_a_launcher_joins_once(self):
        first = self.start_launcher(0, "exec sleep 1000", nodes=3)
        token = self.token()
        second = self.start_with_token(token, "echo $$ > rank1; exec sleep 1000", nodes=3)
        self.await_that(lambda: children_of(second.pid), "the second launcher")
        third = self.start_with_token(token, "exec sleep 1000", node=1, nodes=3)
        done = []
        self.await_that(lambda: done.extend(one for one in (second, third) if one.poll() is not None) or done,
                        "one to be refused")
        (status, _, err), = self.results(done[0])
        self.assertEqual(status, 2)
        self.assertRegex(err, "error: CONCERTO_JOIN_TOKEN: .*: launcher 1 has joined already\n")
        self.stop(first)

    def test_a_join_file_that_others_can_read_is_refused(self):
        self.join.write_text("{}")
        self.join.chmod(0o644)
        (status, _, err), = self.results(self.start_launcher(1, "true"))
        self.assertEqual(status, 2)
        self.assertIn("may be read or written by others; it must have mode 600", err)

    def test_launchers_of_different_plans_do_not_go_together(self):
        first = self.start_launcher(0, "exec sleep 1000")
        (status, _, err), = self.results(self.start_launcher(1, "true", ranks=3))
        self.assertEqual(status, 2)
        self.assertIn("launcher 0 was told of 2 launchers and 2 ranks, launcher 1 of 2 and 6", err)
        self.stop(first)

    def test_the_join_file_is_for_its_user_alone(self):
        first = self.start_launcher(0, "exec sleep 1000")
        self.await_that(self.join.exists, "the join file")
        self.assertEqual(self.join.stat().st_mode & 0o777, 0o600)
        self.stop(first)
        self.assertFalse(self.join.exists())


if __name__ == "__main__":
    unittest.main()
