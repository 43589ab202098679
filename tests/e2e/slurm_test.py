#!/usr/bin/env python3
"""concerto-launch under a real Slurm: both ways to start it, its failures, its signals, and the sbatch example."""
import os
import pathlib
import tempfile
import unittest

from launching import LAUNCHER, SOURCE, LaunchingTest
from slurm_cluster import SlurmCluster, reason_against

REASON = reason_against()


@unittest.skipIf(REASON is not None, f"SKIPPED: {REASON}")
class SlurmTest(LaunchingTest):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="concerto_slurm_")
        cls.addClassCleanup(folder.cleanup)
        cls.cluster = SlurmCluster(folder.name)
        cls.addClassCleanup(cls.cluster.stop)
        cls.cluster.start()

    def srun(self, *words):
        return self.cluster.call("srun", *words, cwd=self.scratch)

    def test_one_launcher_a_node(self):
        finished = self.srun("-N1", "--ntasks-per-node=1", LAUNCHER, "--nproc-per-node", 2, "--", "sh", "-c",
                             "echo $CONCERTO_JOB $CONCERTO_RANK of $CONCERTO_WORLD_SIZE local $CONCERTO_LOCAL_RANK")
        self.assertEqual(finished.returncode, 0, finished.stderr)
        job = finished.stdout.split()[2]
        self.assertRegex(job, r"\Aslurm-\d+-0\Z")
        self.assertEqual(sorted(finished.stdout.splitlines()),
                         [f"[rank 0] {job} 0 of 2 local 0", f"[rank 1] {job} 1 of 2 local 1"])

    def test_what_each_task_of_a_step_would_start(self):
        plans = self.srun("-N2", "-n3", "--label", LAUNCHER, "--dry-run", "--", "true")
        self.assertEqual(plans.returncode, 0, plans.stderr)
        by_task = {}
        for line in plans.stdout.splitlines():
            task, _, text = line.partition(": ")
            by_task.setdefault(int(task), []).append(text)
        self.assertEqual(sorted(by_task), [0, 1, 2])
        for task, lines in by_task.items():
            self.assertIn(f"launchers   3, this is {task}", lines)
            self.assertIn(f"ranks       {task} to {task} of 3", lines)
            self.assertRegex("\n".join(lines), r"rendezvous  n1:2\d{4}\n")
        # Slurm fills the nodes as it likes; on the one with two tasks their local ranks differ.
        places = sorted("".join(line[-1] for line in lines if "CONCERTO_LOCAL_RANK" in line or
                                "CONCERTO_LOCAL_SIZE" in line) for lines in by_task.values())
        self.assertEqual(places, ["01", "02", "12"])

    def test_each_of_several_launchers_with_several_ranks(self):
        plans = self.srun("-N2", "--ntasks-per-node=1", "--label", LAUNCHER, "--nproc-per-node", 2, "--dry-run", "--",
                          "true")
        self.assertEqual(plans.returncode, 0, plans.stderr)
        self.assertIn("0: ranks       0 to 1 of 4\n", plans.stdout)
        self.assertIn("1: ranks       2 to 3 of 4\n", plans.stdout)

    def test_a_failing_rank_is_the_steps_status(self):
        finished = self.srun("-N1", "-n1", LAUNCHER, "--nproc-per-node", 2, "--", "sh", "-c",
                             "[ $CONCERTO_RANK = 0 ] || exit 7; exec sleep 1000")
        self.assertEqual(finished.returncode, 7, finished.stderr)
        self.assertIn("ended with status 7", finished.stderr)

    def test_cancelling_the_job_reaches_the_ranks_and_leaves_none(self):
        script = self.scratch / "job"
        script.write_text(f"#!/bin/sh\nexec srun {LAUNCHER} --nproc-per-node 2 -- sh -c "
                          "'echo $$ > rank$CONCERTO_RANK; sleep 1000 & echo $! > child$CONCERTO_RANK; wait'\n")
        submitted = self.cluster.call("sbatch", "--parsable", "-N1", "-n1", "-o", "log", script, cwd=self.scratch)
        self.assertEqual(submitted.returncode, 0, submitted.stderr)
        numbers = self.await_files("rank0", "rank1", "child0", "child1")
        self.cluster.call("scancel", submitted.stdout.strip())
        self.assert_gone(*numbers)

    def submit_example(self, *command):
        path = f"{pathlib.Path(LAUNCHER).parent}:{os.environ['PATH']}"
        return self.cluster.call("sbatch", "--wait", "--parsable", SOURCE / "launcher/slurm/train.sbatch", *command,
                                 cwd=self.scratch, environment={"RANKS_PER_NODE": "2", "PATH": path})

    def test_the_example(self):
        finished = self.submit_example("sh", "-c", "echo rank $CONCERTO_RANK trains")
        self.assertEqual(finished.returncode, 0, finished.stderr)
        job = finished.stdout.strip()
        self.assertEqual(sorted((self.scratch / f"concerto-{job}.log").read_text().splitlines()),
                         ["[rank 0] rank 0 trains", "[rank 1] rank 1 trains"])
        log = (self.scratch / "logs" / job / "rank-1.log").read_text()
        self.assertTrue(log.endswith("rank 1 trains\n"), log)

    def test_the_example_fails_as_its_ranks_do(self):
        self.assertEqual(self.submit_example("sh", "-c", "exit 9").returncode, 9)
        self.assertEqual(self.submit_example().returncode, 2)


if __name__ == "__main__":
    unittest.main()
