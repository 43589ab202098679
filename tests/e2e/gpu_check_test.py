#!/usr/bin/env python3
"""bench/gpu-check with programs that only pretend: how steps that pass, fail, hang or write nothing are recorded.

No GPU is needed, and nothing is measured. That the real programs work is what gpu-check itself is for.
"""
import gzip
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(os.environ.get("CONCERTO_SOURCE", pathlib.Path(__file__).resolve().parents[2]))
GPU_CHECK = ROOT / "bench/gpu-check"


def load():
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader("gpu_check", str(GPU_CHECK))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("gpu_check", loader))
    loader.exec_module(module)
    return module


DEVICE = '''
if "--device" in sys.argv:
    print(json.dumps({"name": "Pretended GPU", "driver": "1.2"}))
    sys.exit(0)
'''
BENCH = '''#!/usr/bin/env python3
import json, pathlib, sys, time
def value(name): return sys.argv[sys.argv.index(name) + 1]
''' + DEVICE + '''
step, out = value("--only"), pathlib.Path(value("--out"))
if step == "als":
    out.write_text(json.dumps({"milliseconds": 9.5}))
elif step == "cholesky":
    print("what went wrong")
    sys.exit(1)
elif step == "sgd":
    out.write_text(json.dumps({"first": 1}))
    time.sleep(60)
elif step == "top_k":
    out.write_text(json.dumps({"problems": ["NaN in the output"]}))
elif step == "build":
    out.write_text('{"torn": ')
elif step == "loss":
    pass
'''
NO_DEVICE = '''#!/usr/bin/env python3
import sys
print("this machine has no NVIDIA driver")
sys.exit(3)
'''
CONFORMANCE = '''#!/usr/bin/env python3
import json, os, sys
def value(name): return next(word.split("=", 1)[1] for word in sys.argv if word.startswith(name + "="))
if "--gtest_list_tests" in sys.argv:
    print("Running main() from gtest_main.cc")
    print("Backends/Als.\\n  CgRowsAgree/CpuAVX2Explicit\\n  MomentumAgrees/CudaExplicit  # GetParam() = ...")
    print("  MomentumAgrees/CudaImplicit\\nBackends/Sgd.\\n  OneBlockAgrees/Cuda")
    sys.exit(0)
assert os.environ["CONCERTO_REQUIRE_GPU"] == "1"
OUTCOME
'''
PASSING = '''
cases = [{"name": "MomentumAgrees/CudaExplicit", "status": "RUN", "result": "COMPLETED"},
         {"name": "CgRowsAgree/CpuAVX2Explicit", "status": "NOTRUN", "result": "SUPPRESSED"}]
out = value("--gtest_output").split(":", 1)[1]
open(out, "w").write(json.dumps({"testsuites": [{"name": "Backends/Als", "testsuite": cases}]}))
'''
CRASHING = '''
print("[ RUN      ] Backends/Als.A/Cuda\\n[       OK ] Backends/Als.A/Cuda (1 ms)\\n[ RUN      ] Backends/Als.B/Cuda")
print("[  FAILED  ] Backends/Als.B/Cuda, where GetParam() = 3 (1 ms)\\n[ RUN      ] Backends/Als.C/Cuda", flush=True)
os.abort()
'''


class GpuCheckTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.bundle = pathlib.Path(folder.name) / "bundle"
        self.out = pathlib.Path(folder.name) / "out"
        self.tools = pathlib.Path(folder.name) / "tools"
        for part in (self.bundle / "bin", self.tools):
            part.mkdir(parents=True)
        (self.bundle / "COMMIT").write_text("abc123\n")

    def program(self, path, text):
        path.write_text(text)
        path.chmod(0o755)

    def check(self, *steps, bench=BENCH, conformance=PASSING, scale=1.0):
        self.program(self.bundle / "bin/bench_cuda", bench)
        self.program(self.bundle / "bin/conformance_test", CONFORMANCE.replace("OUTCOME", conformance))
        environment = {**os.environ, "PATH": f"{self.tools}:{os.environ['PATH']}"}
        return subprocess.run([sys.executable, GPU_CHECK, "--bundle", self.bundle, "--out", self.out,
                               "--limit-scale", str(scale), *(["--only", *steps] if steps else [])],
                              capture_output=True, text=True, check=False, env=environment)

    def result(self, step):
        return json.loads((self.out / f"{step}.json").read_text())

    def test_without_a_device_every_step_says_so(self):
        done = self.check(bench=NO_DEVICE)
        self.assertEqual(done.returncode, 1, done.stderr)
        for step in load().STEPS:
            self.assertEqual((self.result(step)["status"], self.result(step)["reason"]),
                             ("no device", "this machine has no NVIDIA driver"))
        self.assertEqual(len(json.loads((self.out / "summary.json").read_text())["steps"]), len(load().STEPS))
        self.assertIn("no device: this machine has no NVIDIA driver", done.stdout)

    def test_a_step_that_passes_keeps_what_it_measured_and_where(self):
        done = self.check("als")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        result = self.result("als")
        self.assertEqual((result["status"], result["result"]), ("passed", {"milliseconds": 9.5}))
        self.assertEqual((result["commit"], result["device"]["name"]), ("abc123", "Pretended GPU"))
        self.assertEqual(result["command"][1:3], ["--only", "als"])
        self.assertEqual([path.name for path in self.out.iterdir() if "measured" in path.name], [])

    def test_failures_are_recorded_and_the_next_step_runs(self):
        done = self.check("als", "cholesky", "top_k", "build", "loss")
        self.assertEqual(done.returncode, 1)
        self.assertEqual({step: self.result(step)["status"] for step in ("als", "cholesky", "top_k", "build", "loss")},
                         {"als": "passed", "cholesky": "failed", "top_k": "failed", "build": "failed",
                          "loss": "failed"})
        self.assertEqual(self.result("cholesky")["tail"], ["what went wrong"])
        self.assertEqual(self.result("top_k")["reason"], "NaN in the output")
        self.assertEqual(self.result("build")["reason"], "it wrote no result")

    def test_a_step_that_hangs_is_ended_and_keeps_what_it_had_written(self):
        done = self.check("sgd", "als", scale=0.1)
        self.assertEqual(done.returncode, 1)
        result = self.result("sgd")
        self.assertEqual((result["status"], result["result"]), ("timed out", {"first": 1}))
        self.assertEqual(self.result("als")["status"], "passed")

    def test_benchmarks_fit_their_group_and_the_most_important_come_first(self):
        module = load()
        seconds, steps = module.GROUPS["benchmarks"]
        self.assertLessEqual(sum(module.LIMITS[step] for step in steps), seconds)
        self.assertEqual(set(steps[:7]), {"als", "sgd", "subspace", "top_k", "build", "loss", "target"})

    def test_a_group_has_a_limit_of_its_own(self):
        self.assertEqual(self.check("als").returncode, 0)
        module = load()
        module.GROUPS["benchmarks"] = (1.2, module.GROUPS["benchmarks"][1])
        module.Check(self.bundle, self.out, 1.0).run_steps({"sgd", "target"})
        self.assertEqual(self.result("sgd")["status"], "timed out")
        self.assertEqual((self.result("target")["status"], self.result("target")["reason"]),
                         ("timed out", "the steps before it used up the time of their group"))

    def test_conformance_is_summed_up(self):
        done = self.check("conformance")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(self.result("conformance")["result"]["passed"], ["Backends/Als.MomentumAgrees/CudaExplicit"])

    def test_a_crash_names_what_had_passed_and_what_had_not_ended(self):
        self.assertEqual(self.check("conformance", conformance=CRASHING).returncode, 1)
        result = self.result("conformance")
        self.assertEqual(result["status"], "failed")
        self.assertEqual(result["result"], {"passed": ["Backends/Als.A/Cuda"], "failed": ["Backends/Als.B/Cuda"],
                                            "skipped": [], "unfinished": ["Backends/Als.C/Cuda"]})

    def test_skipped_cases_are_no_pass(self):
        skipping = PASSING.replace('"COMPLETED"', '"SKIPPED"')
        self.assertEqual(self.check("conformance", conformance=skipping).returncode, 1)
        self.assertEqual(self.result("conformance")["status"], "failed")

    def sanitizer(self, last_words, status=0):
        self.program(self.tools / "compute-sanitizer", "#!/usr/bin/env python3\nimport subprocess, sys\n"
                     "status = subprocess.run(sys.argv[5:]).returncode\n"
                     f"print({last_words!r})\nsys.exit({status} or status)\n")

    def test_a_clean_sanitizer_passes_on_the_chosen_cases(self):
        self.sanitizer("========= ERROR SUMMARY: 0 errors")
        done = self.check("memcheck")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        words = self.result("memcheck")["command"]
        self.assertEqual(words[1:5], ["--tool", "memcheck", "--error-exitcode", "86"])
        self.assertIn("--gtest_filter=Backends/Als.MomentumAgrees/CudaExplicit:Backends/Sgd.OneBlockAgrees/Cuda", words)

    def test_errors_of_a_sanitizer_fail(self):
        self.sanitizer("========= RACECHECK SUMMARY: 2 hazards displayed (2 errors, 0 warnings)", 86)
        self.assertEqual(self.check("racecheck").returncode, 1)
        self.assertEqual((self.result("racecheck")["status"], self.result("racecheck")["result"]["errors"]),
                         ("failed", 2))

    def test_a_sanitizer_that_does_not_serve_the_device_has_not_run(self):
        self.sanitizer("========= Error: Device not supported. Please refer to the documentation", 1)
        self.assertEqual(self.check("memcheck", "als").returncode, 0)
        self.assertEqual(self.result("memcheck")["status"], "not run")
        self.assertEqual(self.check("memcheck").returncode, 1, "nothing ran")

    def test_a_sanitizer_without_a_summary_is_not_clean(self):
        self.sanitizer("nothing to see")
        self.assertEqual(self.check("memcheck").returncode, 1)
        self.assertEqual(self.result("memcheck")["status"], "failed")

    def test_packed_files_are_unpacked_once(self):
        (self.bundle / "lib").mkdir()
        self.assertEqual(self.check("als").returncode, 0)
        bench = self.bundle / "bin/bench_cuda"
        with gzip.open(self.bundle / "bin/bench_cuda.gz", "wb") as packed:
            packed.write(bench.read_bytes())
        (self.bundle / "bin/bench_cuda.gz").chmod(0o755)
        bench.unlink()
        subprocess.run([sys.executable, GPU_CHECK, "--bundle", self.bundle, "--out", self.out, "--unpack"], check=True)
        self.assertTrue(os.access(bench, os.X_OK))
        with gzip.open(self.bundle / "lib/libsome.so.1.gz", "wb") as packed:
            packed.write(b"the library")
        self.assertEqual(self.check("als").returncode, 0)
        self.assertEqual((self.bundle / "lib/libsome.so.1").read_bytes(), b"the library")
        self.assertEqual(self.check("als").returncode, 0)
        self.assertEqual(sorted(path.name for path in (self.bundle / "lib").iterdir()),
                         ["libsome.so.1", "libsome.so.1.gz"])

    def test_at_most_twenty_cases_are_sanitized(self):
        self.assertLessEqual(len(load().SANITIZED), 20)


if __name__ == "__main__":
    unittest.main()
