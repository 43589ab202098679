#!/usr/bin/env python3
"""The job files of launcher/: the Kubernetes description holds together and gives the launcher what it needs; the
Containerfile names what is there."""
import re
import unittest

from launching import SOURCE, LaunchingTest, clean_environment

try:
    import yaml
except ImportError:
    yaml = None


@unittest.skipIf(yaml is None, "SKIPPED: the Kubernetes job file needs python3-yaml to be read")
class KubernetesTest(LaunchingTest):
    def setUp(self):
        super().setUp()
        documents = list(yaml.safe_load_all((SOURCE / "launcher/kubernetes/train.yaml").read_text()))
        self.assertEqual([document["kind"] for document in documents], ["Service", "Job"])
        self.service, self.job = documents
        self.pod = self.job["spec"]["template"]["spec"]
        self.container = self.pod["containers"][0]
        self.variables = {entry["name"]: entry["value"] for entry in self.container["env"]}

    def test_pods_find_pod_0_by_the_service(self):
        name = self.job["metadata"]["name"]
        service = self.service["metadata"]["name"]
        self.assertEqual(self.service["spec"]["clusterIP"], "None")
        self.assertTrue(self.service["spec"]["publishNotReadyAddresses"])
        self.assertEqual(self.service["spec"]["selector"], {"job-name": name})
        self.assertEqual(self.pod["subdomain"], service)
        port = self.service["spec"]["ports"][0]["port"]
        self.assertEqual(self.container["ports"][0]["containerPort"], port)
        self.assertEqual(self.variables["CONCERTO_RENDEZVOUS"], f"{name}-0.{service}:{port}")

    def test_as_many_pods_as_launchers_all_at_once_and_none_comes_back(self):
        spec = self.job["spec"]
        self.assertEqual(spec["completionMode"], "Indexed")
        self.assertEqual(spec["completions"], spec["parallelism"])
        self.assertEqual(str(spec["completions"]), self.variables["CONCERTO_NNODES"])
        self.assertEqual(spec["backoffLimit"], 0)
        self.assertEqual(self.pod["restartPolicy"], "Never")

    def test_the_launcher_understands_it(self):
        command = self.container["command"]
        self.assertEqual(command[0], "concerto-launch")
        options, program = command[1:command.index("--")], command[command.index("--") + 1:]
        self.assertEqual(program[:2], ["concerto", "train"])
        self.assertGreater(self.pod["terminationGracePeriodSeconds"], float(options[options.index("--grace") + 1]))
        for index in range(self.job["spec"]["completions"]):
            environment = clean_environment(**self.variables, JOB_COMPLETION_INDEX=str(index))
            finished = self.launch(*options, "--dry-run", "--", "sh", environment=environment)
            self.assertEqual((finished.returncode, finished.stderr), (0, ""))
            self.assertIn(f"launchers   {self.variables['CONCERTO_NNODES']}, this is {index}\n", finished.stdout)
            self.assertIn(f"job         {self.variables['CONCERTO_JOB']}\n", finished.stdout)
            self.assertIn(f"rendezvous  {self.variables['CONCERTO_RENDEZVOUS']}\n", finished.stdout)


class ContainerTest(unittest.TestCase):
    def test_it_names_what_is_there(self):
        text = (SOURCE / "launcher/container/Containerfile").read_text()
        self.assertIn("ARG BASE=debian:12\n", text)
        self.assertIn("RUN scripts/install-dependencies build\n", text)
        self.assertTrue((SOURCE / "scripts/install-dependencies").exists())
        self.assertIn('"name": "release"', (SOURCE / "CMakePresets.json").read_text())
        declared = set(re.findall(r"^option\((\w+)|^set\((CONCERTO_CUDA) ", (SOURCE / "CMakeLists.txt").read_text(),
                                  re.MULTILINE))
        names = {first or second for first, second in declared}
        self.assertLessEqual(set(re.findall(r"-D(\w+)=", text)), names)


if __name__ == "__main__":
    unittest.main()
