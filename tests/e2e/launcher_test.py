#!/usr/bin/env python3
"""concerto-launch with real processes: what ranks learn, what becomes of their output, and that nothing is left."""
import os
import pathlib
import re
import signal
import subprocess
import unittest

from launching import LAUNCHER, PROGRAM, LaunchingTest, children_of, clean_environment, is_alive

# Writes its number and that of two descendants: one in its group, one that has left it.
FAMILY = """
sleep 1000 & echo $! > child$CONCERTO_RANK
setsid sh -c 'echo $$ > daemon$CONCERTO_RANK; exec sleep 1000' &
echo $$ > rank$CONCERTO_RANK
"""


def family(ranks):
    return [f"{name}{rank}" for rank in range(ranks) for name in ("rank", "child", "daemon")]


class EndingTest(LaunchingTest):
    def test_success_only_if_all_ranks_end_well(self):
        finished = self.launch_shell(3, "echo done; exit 0")
        self.assertEqual((finished.returncode, finished.stderr), (0, ""))
        self.assertEqual(sorted(finished.stdout.splitlines()), [f"[rank {rank}] done" for rank in range(3)])

    def test_a_rank_that_ends_well_early_leaves_the_others_alone(self):
        finished = self.launch_shell(2, "[ $CONCERTO_RANK = 0 ] && { echo early > early; exit 0; }\n"
                                        "while [ ! -e early ]; do sleep 0.05; done; sleep 0.3; echo late")
        self.assertEqual(finished.returncode, 0, finished.stderr)
        self.assertEqual(finished.stdout, "[rank 1] late\n")

    def test_the_first_failure_is_the_status_and_ends_the_others(self):
        finished = self.launch_shell(3, "if [ $CONCERTO_RANK = 1 ]; then echo out; for i in $(seq 30); do echo why $i >&2; "
                                        "done; exit 7; fi; trap 'exit 9' TERM; sleep 1000 & wait")
        self.assertEqual(finished.returncode, 7)
        self.assertRegex(finished.stderr, r"concerto-launch: error: rank 1 \(process \d+\) ended with status 7; its last "
                                          r"lines:\nconcerto-launch:   \| why 11\n")
        self.assertTrue(finished.stderr.endswith("concerto-launch:   | why 30\n"), finished.stderr)

    def test_a_killed_rank_is_named_with_its_signal(self):
        process = self.start("--nproc-per-node", 2, "--", "sh", "-c", "echo $$ > rank$CONCERTO_RANK; exec sleep 1000")
        first, second = self.await_files("rank0", "rank1")
        os.kill(second, signal.SIGKILL)
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 128 + 9)
        self.assertIn(f"error: rank 1 (process {second}) ended with signal 9 (SIGKILL)\n", err)
        self.assert_gone(first)

    def test_a_rank_that_ignores_sigterm_is_killed_after_the_grace_period(self):
        finished = self.launch_shell(2, "if [ $CONCERTO_RANK = 0 ]; then while [ ! -e deaf ]; do sleep 0.05; done; exit 3; fi\n"
                                        "trap '' TERM; echo $$ > deaf; while :; do sleep 1000; done", "--grace", "0.3")
        self.assertEqual(finished.returncode, 3)
        self.assertIn("concerto-launch: the grace period is over: ending every rank at once\n", finished.stderr)
        self.assert_gone(*self.await_files("deaf"))

    def test_the_time_limit(self):
        finished = self.launch_shell(1, "sleep 1000", "--time-limit", "0.2")
        self.assertEqual(finished.returncode, 124)
        self.assertIn("error: the time limit of 0.2 s is over\n", finished.stderr)


class SignalTest(LaunchingTest):
    def start_deaf_or_not(self, trap):
        script = f"{trap}\necho $$ > rank$CONCERTO_RANK; while :; do sleep 0.05; done"
        process = self.start("--nproc-per-node", 2, "--", "sh", "-c", script)
        return process, self.await_files("rank0", "rank1")

    def test_ctrl_c_reaches_the_ranks_and_is_the_status(self):
        for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)):
            process, ranks = self.start_deaf_or_not("")
            process.send_signal(number)
            _, err = process.communicate(timeout=60)
            self.assertEqual(process.returncode, status, err)
            self.assertIn("passed on to 2 ranks; again to end them at once\n", err)
            self.assert_gone(*ranks)
            for name in ("rank0", "rank1"):
                (self.scratch / name).unlink()

    def test_ranks_that_end_well_on_request_make_a_success(self):
        process, _ = self.start_deaf_or_not("trap 'echo saved; exit 0' INT")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 0, err)
        self.assertEqual(sorted(out.splitlines()), ["[rank 0] saved", "[rank 1] saved"])

    def test_a_second_one_kills(self):
        process, ranks = self.start_deaf_or_not("trap '' INT")
        process.send_signal(signal.SIGINT)
        for line in process.stderr:
            if "passed on" in line:
                break
        # What comes at once is taken for the same wish, so the second is repeated until it is heard.
        self.await_that(lambda: process.poll() is not None or process.send_signal(signal.SIGINT), "the end")
        self.assertEqual(process.returncode, 130)
        self.assertIn("SIGINT again: ending every rank at once\n", process.stderr.read())
        self.assert_gone(*ranks)


class NothingIsLeftTest(LaunchingTest):
    def start_family(self):
        process = self.start("--nproc-per-node", 2, "--", "sh", "-c", FAMILY + "wait")
        return process, self.await_files(*family(2))

    def test_after_success(self):
        finished = self.launch_shell(2, FAMILY + "while [ ! -s daemon$CONCERTO_RANK ]; do sleep 0.05; done")
        self.assertEqual(finished.returncode, 0, finished.stderr)
        self.assert_gone(*self.await_files(*family(2)))

    def test_after_a_failure(self):
        process, numbers = self.start_family()
        os.kill(numbers[0], signal.SIGKILL)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 137)
        for number in numbers:  # the launcher has seen to it before it ended
            self.assertFalse(is_alive(number))

    def test_when_the_launcher_is_killed(self):
        process, numbers = self.start_family()
        inner = children_of(process.pid)
        self.assertEqual(len(inner), 1)
        process.kill()
        process.wait()
        self.assert_gone(*numbers, *inner)

    def test_when_its_working_half_is_killed(self):
        process, numbers = self.start_family()
        os.kill(children_of(process.pid)[0], signal.SIGKILL)
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 137)
        self.assertIn("concerto-launch: error: the launcher was killed; what is left of the job is killed, too\n", err)
        self.assert_gone(*numbers)

    def test_when_both_halves_are_killed_the_ranks_die(self):
        process, numbers = self.start_family()
        inner = children_of(process.pid)[0]
        self.addCleanup(lambda: [os.kill(number, signal.SIGKILL) for number in numbers if is_alive(number)])
        os.kill(process.pid, signal.SIGSTOP)  # so that neither can act on the other's death
        os.kill(inner, signal.SIGKILL)
        process.kill()
        process.wait()
        self.assert_gone(inner, *self.await_files("rank0", "rank1"))

    def test_a_stopped_rank_too(self):
        process, numbers = self.start_family()
        os.kill(numbers[3], signal.SIGSTOP)
        os.kill(numbers[0], signal.SIGKILL)
        process.communicate(timeout=60)
        self.assert_gone(*numbers)


class OutputTest(LaunchingTest):
    def test_huge_output_of_several_ranks_in_whole_lines(self):
        lines = 20000
        script = f"seq 1 {lines} | sed \"s/$/ of $CONCERTO_RANK abcdefghijklmnopqrstuvwxyz/\""
        finished = self.launch_shell(4, script, "--log-dir", "logs")
        self.assertEqual(finished.returncode, 0, finished.stderr)
        following = [0] * 4
        for line in finished.stdout.splitlines():
            match = re.fullmatch(r"\[rank (\d)\] (\d+) of (\d) abcdefghijklmnopqrstuvwxyz", line)
            self.assertTrue(match, line)
            rank = int(match.group(1))
            self.assertEqual(rank, int(match.group(3)))
            following[rank] += 1
            self.assertEqual(int(match.group(2)), following[rank])
        self.assertEqual(following, [lines] * 4)
        for rank in range(4):
            log = (self.scratch / "logs" / f"rank-{rank}.log").read_text().splitlines()
            self.assertRegex(log[0], rf"=== rank {rank}, node 0, process \d+")
            self.assertEqual(log[1:], [f"{i} of {rank} abcdefghijklmnopqrstuvwxyz" for i in range(1, lines + 1)])

    def test_both_streams_in_one_pipe_do_not_tear_each_other(self):
        script = "for i in $(seq 2000); do echo out out out out; echo err err err err >&2; done"
        finished = subprocess.run([LAUNCHER, "--nproc-per-node", "3", "--", "sh", "-c", script], cwd=self.scratch,
                                  text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120,
                                  env=clean_environment())
        self.assertEqual(finished.returncode, 0)
        counts = {}
        for line in finished.stdout.splitlines():
            counts[line] = counts.get(line, 0) + 1
        self.assertEqual(counts, {f"[rank {rank}] {word} {word} {word} {word}": 2000
                                  for rank in range(3) for word in ("out", "err")})

    def test_tails_without_a_newline_and_lines_of_a_megabyte(self):
        finished = self.launch_shell(1, "head -c 1000000 /dev/zero | tr '\\0' z; echo; printf tail")
        lines = finished.stdout.splitlines()
        self.assertEqual(lines[-1], "[rank 0] tail")
        self.assertEqual("".join(line.removeprefix("[rank 0] ") for line in lines[:-1]), "z" * 1000000)

    def test_output_just_before_death_is_not_lost(self):
        finished = self.launch_shell(1, "echo last words >&2; kill -9 $$")
        self.assertIn("[rank 0] last words\n", finished.stderr)
        self.assertTrue(finished.stderr.endswith("its last lines:\nconcerto-launch:   | last words\n"), finished.stderr)

    def test_a_reader_that_leaves_ends_the_job(self):
        process = self.start("--", "yes")
        self.assertEqual(process.stdout.readline(), "[rank 0] y\n")
        process.stdout.close()
        self.assertEqual(process.wait(timeout=60), 128 + signal.SIGPIPE)
        self.assertIn("standard output: cannot be written: Broken pipe; it is not whole", process.stderr.read())

    def test_a_reader_that_does_not_read_blocks_no_signals(self):
        process = self.start("--", "sh", "-c", "echo $$ > rank0; exec yes")
        numbers = self.await_files("rank0")
        process.send_signal(signal.SIGTERM)
        self.assert_gone(*numbers)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 143)

    def test_a_log_folder_that_cannot_be_made(self):
        (self.scratch / "file").write_text("")
        finished = self.launch_shell(1, "true", "--log-dir", "file/logs")
        self.assertEqual(finished.returncode, 1)
        self.assertRegex(finished.stderr, r"\Aconcerto-launch: error: file/logs: cannot be made: .*\n\Z")


class PlaceTest(LaunchingTest):
    def environment_of_ranks(self, *options, ranks=2, environment=None):
        finished = self.launch_shell(ranks, "env > env$CONCERTO_RANK", *options, environment=environment)
        self.assertEqual(finished.returncode, 0, finished.stderr)
        return [dict(line.split("=", 1) for line in (self.scratch / f"env{rank}").read_text().splitlines())
                for rank in range(ranks)]

    def test_ranks_learn_who_they_are(self):
        first, second = self.environment_of_ranks("--job", "night")
        self.assertEqual({name: value for name, value in second.items() if name.startswith("CONCERTO_")},
                         {"CONCERTO_JOB": "night", "CONCERTO_RANK": "1", "CONCERTO_WORLD_SIZE": "2",
                          "CONCERTO_LOCAL_RANK": "1", "CONCERTO_LOCAL_SIZE": "2", "CONCERTO_NODE_RANK": "0",
                          "CONCERTO_INCARNATION": "1", "CONCERTO_THREADS": second["CONCERTO_THREADS"]})
        self.assertEqual(first["CONCERTO_RANK"], "0")
        self.assertEqual(first["OMP_NUM_THREADS"], first["CONCERTO_THREADS"])

    def test_each_rank_gets_its_device(self):
        environment = clean_environment(CUDA_VISIBLE_DEVICES="5,3")
        ranks = self.environment_of_ranks(environment=environment)
        self.assertEqual([rank["CUDA_VISIBLE_DEVICES"] for rank in ranks], ["5", "3"])
        ranks = self.environment_of_ranks("--devices", "none", environment=environment)
        self.assertEqual([rank["CUDA_VISIBLE_DEVICES"] for rank in ranks], ["5,3"] * 2)

    def test_processors_are_shared(self):
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) < 2:
            self.skipTest("SKIPPED: sharing processors needs two of them")
        finished = self.launch_shell(2, "grep Cpus_allowed_list /proc/self/status > cpus$CONCERTO_RANK")
        self.assertEqual(finished.returncode, 0, finished.stderr)
        shares = [(self.scratch / f"cpus{rank}").read_text() for rank in range(2)]
        self.assertNotEqual(*shares)

    def test_a_rank_starts_as_a_shell_would_start_it(self):
        finished = self.launch_shell(1, "cat; grep -E 'Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd | wc -l")
        # No input; nothing blocked or ignored; descriptors 0 to 2, and 3 for ls itself.
        self.assertEqual(finished.stdout.split(),
                         ["[rank", "0]", "SigBlk:", "0" * 16, "[rank", "0]", "SigIgn:", "0" * 16, "[rank", "0]", "4"])

    def test_closed_standard_descriptors_confuse_nobody(self):
        finished = subprocess.run(["sh", "-c", f"'{LAUNCHER}' -- sh -c 'echo x > written' <&- >&- 2>&-"],
                                  cwd=self.scratch, timeout=60, env=clean_environment(), check=False)
        self.assertEqual(finished.returncode, 0)
        self.assertEqual((self.scratch / "written").read_text(), "x\n")

    def test_concerto_itself_runs_under_it(self):
        finished = self.launch("--", PROGRAM, "synth", "--users", 30, "--items", 20, "--entries", 100, "--out", "data")
        self.assertEqual(finished.returncode, 0, finished.stderr)
        self.assertTrue((self.scratch / "data" / "train.txt").exists())


class CommandLineTest(LaunchingTest):
    def assert_refused(self, words, *arguments, environment=None):
        finished = self.launch(*arguments, environment=environment)
        self.assertEqual(finished.returncode, 2, finished.stderr)
        self.assertEqual(finished.stderr.count("\n"), 1, finished.stderr)
        self.assertIn("concerto-launch: error: ", finished.stderr)
        self.assertIn(words, finished.stderr)
        self.assertEqual(list(self.scratch.iterdir()), [])

    def test_mistakes_are_one_line_and_status_2(self):
        self.assert_refused("no program to run")
        self.assert_refused("--nproc-per-node: must be a whole number", "--nproc-per-node", "many", "--", "true")
        self.assert_refused("--frobnicate", "--frobnicate", "--", "true")
        self.assert_refused("no-such-program: no such program in PATH", "--", "no-such-program")
        self.assert_refused("./nothing-here: No such file or directory", "--", "./nothing-here")
        self.assert_refused("is not a program that may be run", "--", "/etc/passwd")
        self.assert_refused("--node-rank: is needed", "--nnodes", "2", "--", "true")
        self.assert_refused("SLURM_NTASKS: is not set", "--", "true", environment=clean_environment(SLURM_PROCID="0"))
        self.assert_refused("SLURM_PROCID: must be a whole number", "--", "true",
                            environment=clean_environment(SLURM_PROCID="x", SLURM_NTASKS="1", SLURM_LOCALID="0"))
        self.assert_refused("CONCERTO_NNODES: is not set", "--", "true",
                            environment=clean_environment(JOB_COMPLETION_INDEX="0"))

    def test_a_file_that_the_system_does_not_run(self):
        path = self.scratch / "odd"
        path.write_text("#!/no/such/interpreter\n")
        path.chmod(0o755)
        finished = self.launch("--nproc-per-node", 2, "--", "./odd")
        self.assertEqual(finished.returncode, 2)
        self.assertEqual(finished.stderr, "concerto-launch: error: rank 0 could not be started: ./odd: No such file or "
                                          "directory\n")

    def test_help_and_version(self):
        finished = self.launch("--help")
        self.assertEqual(finished.returncode, 0)
        for words in ("--nproc-per-node", "srun", "Kubernetes", "Exit status", "Examples:"):
            self.assertIn(words, finished.stdout)
        self.assertRegex(self.launch("--version").stdout, r"\Aconcerto-launch \d+\.\d+\.\d+\n\Z")

    def test_dry_run_says_all_and_starts_nothing(self):
        finished = self.launch_shell(2, "echo x > started", "--dry-run", "--job", "night")
        self.assertEqual(finished.returncode, 0, finished.stderr)
        for words in ("job         night\n", "ranks       0 to 1 of 2\n", "rank 1: device ", "  CONCERTO_RANK=1\n",
                      "command     sh -c echo x > started\n"):
            self.assertIn(words, finished.stdout)
        self.assertEqual(list(self.scratch.iterdir()), [])

    def test_slurms_variables(self):
        slurm = {"SLURM_JOB_ID": "17", "SLURM_STEP_ID": "0", "SLURM_PROCID": "5", "SLURM_NTASKS": "8",
                 "SLURM_LOCALID": "1", "SLURM_NODEID": "1", "SLURM_NNODES": "2", "SLURM_JOB_NODELIST": "n[1-2]",
                 "SLURM_TASKS_PER_NODE": "4(x2)"}
        finished = self.launch("--dry-run", "--", "sh", environment=clean_environment(**slurm))
        self.assertEqual(finished.returncode, 0, finished.stderr)
        for words in ("job         slurm-17-0\n", "launchers   8, this is 5\n", "ranks       5 to 5 of 8\n",
                      "rendezvous  n1:20017\n", "  CONCERTO_LOCAL_RANK=1\n", "  CONCERTO_LOCAL_SIZE=4\n"):
            self.assertIn(words, finished.stdout)
        by_node = {**slurm, "SLURM_NTASKS": "2", "SLURM_PROCID": "1", "SLURM_LOCALID": "0",
                   "SLURM_TASKS_PER_NODE": "1(x2)"}
        finished = self.launch("--dry-run", "--nproc-per-node", 4, "--rendezvous", "h:1", "--", "sh",
                               environment=clean_environment(**by_node))
        self.assertIn("ranks       4 to 7 of 8\n", finished.stdout)
        self.assertEqual(finished.stderr, "concerto-launch: --rendezvous h:1 is used, though Slurm job 17 says n1:20017\n")

    def test_kubernetes_variables(self):
        pod = clean_environment(JOB_COMPLETION_INDEX="2", CONCERTO_NNODES="4", CONCERTO_RENDEZVOUS="train-0.train:29500")
        finished = self.launch("--dry-run", "--nproc-per-node", 2, "--", "sh", environment=pod)
        self.assertEqual(finished.returncode, 0, finished.stderr)
        for words in ("launchers   4, this is 2\n", "ranks       4 to 5 of 8\n", "rendezvous  train-0.train:29500\n"):
            self.assertIn(words, finished.stdout)


if __name__ == "__main__":
    unittest.main()
