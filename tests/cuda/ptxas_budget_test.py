#!/usr/bin/env python3
"""Holds what the device compiler says of each kernel against ptxas_budgets.toml: no spills, no stack, few registers.

The build keeps ptxas' report of every object (scripts/lib/keep_ptxas_report). CONCERTO_CUDA_OBJECTS names a file that
lists the objects; it is empty where the program was built without nvcc, and the test says so. Every kernel of ours needs
a stated budget, and every budget a kernel. CUB's own kernels are left out.
"""
import os
import pathlib
import re
import subprocess
import tomllib
import unittest

BUDGETS = pathlib.Path(__file__).with_name("ptxas_budgets.toml")
OURS = "_ZN8concerto4cuda"
ENTRY = re.compile(r"Compiling entry function '(\w+)' for '(sm_\w+)'")
PROPERTIES = re.compile(r"Function properties for '?(\w+)'?")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")


class Kernel:
    """One function of ours as compiled for one architecture; `name` is demangled, without parameters."""

    def __init__(self, symbol, architecture, is_entry):
        self.symbol = symbol
        self.architecture = architecture
        self.is_entry = is_entry
        self.name = symbol
        self.stack = self.spills = self.registers = self.shared = 0


def parse_report(text):
    """The functions of a report, in its order. A function that is called, not launched, has no registers of its own."""
    kernels = []
    current = entry = None
    architecture = ""
    for line in text.splitlines():
        if match := ENTRY.search(line):
            architecture = match.group(2)
            current = entry = Kernel(match.group(1), architecture, True)
            kernels.append(entry)
        elif match := PROPERTIES.search(line):
            if entry is None or match.group(1) != entry.symbol:
                current = Kernel(match.group(1), architecture, False)
                kernels.append(current)
            else:
                current = entry
        elif (match := STACK.search(line)) and current:
            current.stack = int(match.group(1))
            current.spills = int(match.group(2)) + int(match.group(3))
        elif (match := USED.search(line)) and entry:
            entry.registers = int(match.group(1))
            shared = SHARED.search(line)
            entry.shared = int(shared.group(1)) if shared else 0
    ours = [kernel for kernel in kernels if kernel.symbol.startswith(OURS)]
    for kernel, name in zip(ours, demangled([kernel.symbol for kernel in ours])):
        kernel.name = name
    return ours


def demangled(symbols):
    """Names below concerto::cuda::, without parameters and unnamed namespaces."""
    if not symbols:
        return []
    listed = subprocess.run(["c++filt", "-p", *symbols], capture_output=True, text=True, check=True).stdout
    names = [line.replace("(anonymous namespace)::", "") for line in listed.splitlines()]
    return [re.sub(r"^.*?concerto::cuda::", "", name, count=1) for name in names]


def is_within(budget, kernel):
    return re.fullmatch(budget["kernel"], kernel.name) is not None


def violations(kernels, budgets):
    """What is wrong, a line each. The first budget whose pattern fits a kernel is its budget."""
    found = []
    used = set()
    for kernel in kernels:
        place = f"{kernel.name} ({kernel.architecture})"
        number = next((n for n, budget in enumerate(budgets) if is_within(budget, kernel)), None)
        stack = 0 if number is None else budgets[number].get("stack", 0)
        if kernel.spills or kernel.stack > stack:
            found.append(f"{place}: {kernel.spills} bytes of spills, {kernel.stack} bytes of stack")
        if not kernel.is_entry:
            continue
        if number is None:
            found.append(f"{place}: no budget ({kernel.registers} registers, {kernel.shared} bytes of static shared memory)")
            continue
        used.add(number)
        budget = budgets[number]
        if kernel.architecture not in budget["registers"]:
            found.append(f"{place}: no budget of registers for this architecture ({kernel.registers} used)")
        elif kernel.registers > budget["registers"][kernel.architecture]:
            found.append(f"{place}: {kernel.registers} registers, {budget['registers'][kernel.architecture]} allowed")
        if kernel.shared > budget.get("static_shared", 0):
            found.append(f"{place}: {kernel.shared} bytes of static shared memory, {budget.get('static_shared', 0)} allowed")
    found += [f"budget '{budget['kernel']}': fits no kernel" for n, budget in enumerate(budgets) if n not in used]
    return found


def read_budgets(text):
    return tomllib.loads(text)["budget"]


def report(symbol, registers=40, stack=0, spills=0, shared=0, architecture="sm_90"):
    """A report as ptxas writes it."""
    smem = f", {shared} bytes smem" if shared else ""
    return (f"ptxas info    : Compiling entry function '{symbol}' for '{architecture}'\n"
            f"ptxas info    : Function properties for {symbol}\n"
            f"    {stack} bytes stack frame, {spills} bytes spill stores, {spills} bytes spill loads\n"
            f"ptxas info    : Used {registers} registers, used 1 barriers{smem}, 400 bytes cmem[0]\n")


UNNAMED = "_GLOBAL__N__4b7f9b1c_16_row_solver_64_cu_d5e8a1f2"
SOLVE = f"_ZN8concerto4cuda{len(UNNAMED)}{UNNAMED}5solveILj64EEEvPf"
FILL = "_ZN8concerto4cuda4fillEPf"
PLANTED_BUDGETS = '[[budget]]\nkernel = "solve<.*>"\nregisters = {sm_80 = 40, sm_90 = 40}\n' \
                  '[[budget]]\nkernel = "fill"\nregisters = {sm_90 = 16}\n'


class PtxasBudgetTest(unittest.TestCase):
    def judge(self, *reports, budgets=PLANTED_BUDGETS):
        return violations(parse_report("".join(reports)), read_budgets(budgets))

    def expect_one(self, words, *reports):
        found = self.judge(*reports)
        self.assertEqual(len(found), 1, found)
        self.assertIn(words, found[0])

    def test_names_are_those_of_the_source(self):
        self.assertEqual([kernel.name for kernel in parse_report(report(SOLVE) + report(FILL))], ["solve<64u>", "fill"])

    def test_within_the_budget_is_well(self):
        self.assertEqual(self.judge(report(SOLVE), report(SOLVE, architecture="sm_80"), report(FILL, registers=16)), [])

    def test_a_spill_is_caught(self):
        self.expect_one("32 bytes of spills", report(SOLVE, spills=16), report(FILL, registers=8))

    def test_a_stack_frame_is_caught(self):
        self.expect_one("24 bytes of stack", report(SOLVE, stack=24), report(FILL, registers=8))

    def test_a_stack_frame_within_its_budget_is_well_and_a_spill_is_not(self):
        budgets = PLANTED_BUDGETS.replace("registers = {sm_90 = 16}", "registers = {sm_90 = 16}\nstack = 8")
        self.assertEqual(self.judge(report(SOLVE), report(FILL, registers=8, stack=8), budgets=budgets), [])
        found = self.judge(report(SOLVE), report(FILL, registers=8, stack=8, spills=4), budgets=budgets)
        self.assertEqual(len(found), 1, found)

    def test_a_spill_in_a_function_that_is_called_is_caught(self):
        called = (f"ptxas info    : Function properties for {FILL}\n"
                  "    0 bytes stack frame, 8 bytes spill stores, 0 bytes spill loads\n")
        self.expect_one("8 bytes of spills", report(FILL, registers=8), report(SOLVE), called)

    def test_too_many_registers_are_caught(self):
        self.expect_one("41 registers, 40 allowed", report(SOLVE, registers=41), report(FILL, registers=8))

    def test_static_shared_memory_is_caught(self):
        self.expect_one("8 bytes of static shared memory", report(SOLVE, shared=8), report(FILL, registers=8))

    def test_a_kernel_without_a_budget_is_caught(self):
        self.expect_one("no budget", report(SOLVE), report(FILL, registers=8), report("_ZN8concerto4cuda5otherEPf"))

    def test_an_architecture_without_a_budget_is_caught(self):
        self.expect_one("for this architecture", report(SOLVE), report(FILL, registers=8, architecture="sm_80"))

    def test_a_budget_without_a_kernel_is_caught(self):
        self.expect_one("budget 'fill': fits no kernel", report(SOLVE))

    def test_kernels_of_libraries_are_left_out(self):
        foreign = report("_ZN3cub6SortEPf", spills=8, stack=64, registers=255)
        self.assertEqual(self.judge(foreign, report(SOLVE), report(FILL, registers=8)), [])

    def test_the_kernels_of_this_build(self):
        listed = os.environ.get("CONCERTO_CUDA_OBJECTS", "")
        if not listed:
            print("SKIPPED: ptxas budgets: built without nvcc", flush=True)
            self.skipTest("built without nvcc")
        kernels = []
        for object_file in pathlib.Path(listed).read_text().split():
            kept = pathlib.Path(object_file + ".ptxas")
            self.assertTrue(kept.is_file(), f"{kept} is missing: build concerto_kernels_cuda again")
            kernels += parse_report(kept.read_text())
        self.assertGreater(len(kernels), 0, "no report names a kernel")
        self.assertEqual(violations(kernels, read_budgets(BUDGETS.read_text())), [])


if __name__ == "__main__":
    unittest.main()
