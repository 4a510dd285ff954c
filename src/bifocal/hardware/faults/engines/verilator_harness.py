"""The C++ around a circuit that Verilator compiled: it applies the stimulus and counts differences.

Given rows of inputs in ``stimulus.bin``, 32-bit words, bit 0 first. Prints a line for each fault: wrong
cycles, wrong output bits, the first wrong cycle or -1, and whether the last state is wrong.
"""

from __future__ import annotations

from bifocal.hardware.faults.engines.verilog_model import VerilogModel
from bifocal.hardware.faults.models import UPSET

#: A number that is no kind of fault: the fault-free circuit.
_NO_FAULT = 7


_COMMON = """
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>
#include "Vmachine.h"
#include "verilated.h"
typedef std::vector<uint32_t> Words;
static long rows, reset;
static Words stimulus, expected, expected_state;
static Words load_words(const char* name) {
  Words words;
  if (FILE* file = fopen(name, "rb")) {
    fseek(file, 0, SEEK_END);
    words.resize(ftell(file) / 4);
    rewind(file);
    if (fread(words.data(), 4, words.size(), file) != words.size()) exit(3);
    fclose(file);
  }
  return words;
}
static void play(Vmachine* top, long flip_row, bool record) {
  long cycles = 0, bits = 0, first = -1;
  for (long t = 0; t < rows; ++t) {
    const uint32_t* row = stimulus.data() + t * INS;
    (void)row;
    DRIVE;
    top->flip = t == flip_row;
    top->clk = 0;
    top->eval();
    const uint32_t out[] = {OUTPUTS};
    if (record) memcpy(&expected[t * OUTS], out, sizeof out);
    else if (t >= reset) {
      int wrong = 0;
      for (int i = 0; i < OUTS; ++i) wrong += __builtin_popcount(out[i] ^ expected[t * OUTS + i]);
      if (wrong) { ++cycles; bits += wrong; if (first < 0) first = t - reset; }
    }
    top->clk = 1;
    top->eval();
  }
  top->show = 1;
  top->clk = 0;
  top->eval();
  const uint32_t state[] = {STATE_PORTS};
  top->show = 0;
  if (record) expected_state.assign(state, state + STATES);
  else {
    int wrong = memcmp(state, expected_state.data(), sizeof state) != 0;
    printf("%ld %ld %ld %d\\n", cycles, bits, first, wrong);
  }
}
"""

#: The main of a circuit with its fault built in; `record` writes the right outputs, for `compare`.
SINGLE = """
int main(int argc, char** argv) {
  rows = atol(argv[1]), reset = atol(argv[2]);
  std::unique_ptr<Vmachine> top(new Vmachine);
  stimulus = load_words("stimulus.bin");
  bool record = !strcmp(argv[3], "record");
  if (record) expected.resize(rows * OUTS);
  else expected = load_words("expected.bin"), expected_state = load_words("state.bin");
  top->show = 0;
  long cycle = record ? -1 : atol(argv[4]);
  play(top.get(), cycle < 0 ? -1 : cycle + reset, record);
  if (record) {
    FILE* file = fopen("expected.bin", "wb");
    fwrite(expected.data(), 4, expected.size(), file);
    fclose(file);
    file = fopen("state.bin", "wb");
    fwrite(expected_state.data(), 4, expected_state.size(), file);
    fclose(file);
  }
}
"""

#: The main of a circuit whose fault is chosen at run time: first none, then each in `faults.bin`.
SELECT = """
int main(int argc, char** argv) {
  rows = atol(argv[1]), reset = atol(argv[2]);
  std::unique_ptr<Vmachine> top(new Vmachine);
  stimulus = load_words("stimulus.bin");
  expected.resize(rows * OUTS);
  Words faults = load_words("faults.bin");
  long count = atol(argv[3]);
  for (long i = -1; i < count; ++i) {
    const uint32_t* fault = i < 0 ? nullptr : &faults[i * 3];
    top->kind = fault ? fault[0] : NO_FAULT;
    top->target = fault ? fault[1] : 0;
    top->detail = fault ? fault[2] : 0;
    top->show = 0, top->flip = 0, top->load = 1;
    top->clk = 0;
    top->eval();
    top->clk = 1;
    top->eval();
    top->load = 0;
    play(top.get(), fault && fault[0] == UPSET ? reset + (long)fault[2] : -1, i < 0);
  }
}
"""


def harness(model: VerilogModel, main: str) -> str:
    """The C++ around the model: applies the stimulus, keeps the right outputs, counts differences."""
    defined = {
        "INS": model.in_words,
        "OUTS": model.out_words,
        "STATES": max(1, model.state_words),
        "DRIVE": " ".join(f"top->in{i} = row[{i}];" for i in range(model.in_words)),
        "OUTPUTS": ", ".join(f"top->out{i}" for i in range(model.out_words)),
        "STATE_PORTS": ", ".join(f"top->state{i}" for i in range(model.state_words)) or "0",
        "UPSET": UPSET,
        "NO_FAULT": _NO_FAULT,
    }
    head = "".join(f"#define {name} {value}\n" for name, value in defined.items())
    return head + _COMMON + main
