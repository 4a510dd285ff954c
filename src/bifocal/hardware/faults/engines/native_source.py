"""C++ for one program: every chunk as a straight line of vector operations, around it a small interpreter.

A batch runs the compiled chunk wherever it has no fault and interprets the few chunks where it has one, so
nothing is rebuilt for a fault. The code uses the vector extensions of GCC and Clang, which work with any
instruction set; ``-march=native`` selects the widest one of the processor.
"""

from __future__ import annotations

from collections.abc import Iterator

from bifocal.hardware.faults.engines.logic import COPY, MUX, NOT
from bifocal.hardware.faults.engines.program import SKIP, Program

_EXPRESSIONS = (
    "{a} & {b}",
    "{a} & ~{b}",
    "~({a} | {b})",
    "{a} | {b}",
    "{a} | ~{b}",
    "~({a} & {b})",
    "{a} ^ {b}",
    "~({a} ^ {b})",
    "~{a}",
    "{a} ^ (({a} ^ {b}) & {c})",
    "{a}",
)


def write_source(program: Program, vector_bytes: int) -> str:
    """The whole C++ file for a program, ``vector_bytes`` × 8 lanes wide."""
    chunks = list(zip(program.chunks[:-1], program.chunks[1:], strict=True))
    parts = [_HEAD.replace("@BYTES@", str(vector_bytes))]
    for number, ((start, stop), live) in enumerate(zip(chunks, program.live_at_ends(), strict=True)):
        body = "\n".join(f"  {line}" for line in _chunk_lines(program.ops[start:stop].tolist(), live))
        parts.append(f"static void chunk{number}(V* S) {{\n{body}\n}}")
    names = ", ".join(f"chunk{number}" for number in range(len(chunks)))
    parts.append(f"static void (*const CHUNKS[])(V*) = {{{names}}};")
    parts.append(_RUN.replace("@OUTPUTS@", str(len(program.outputs))))
    return "\n".join(parts)


def _chunk_lines(ops: list[list[int]], live: frozenset[int]) -> Iterator[str]:
    """Statements of one chunk. A slot is a local, loaded when first read, stored when last written."""
    last = {op[1]: i for i, op in enumerate(ops) if op[0] != SKIP}
    known: set[int] = set()
    skipped_until = -1
    branches = any(op[0] == SKIP for op in ops)
    if branches:  # what lies in a branch is loaded before it and stored after it
        touched = {slot for op in ops for slot in _slots_read(op)}
        yield from (f"V s{slot} = S[{slot}];" for slot in sorted(touched))
        known |= touched
    for i, op in enumerate(ops):
        code, target, a, b, c = op
        if code == SKIP:
            yield f"if (any(s{a})) {{"
            skipped_until = i + b
            continue
        for slot in _slots_read(op):
            if slot not in known:
                known.add(slot)
                yield f"V s{slot} = S[{slot}];"
        declare = "" if target in known else "V "
        known.add(target)
        names = {"a": f"s{a}", "b": f"s{b}", "c": f"s{c}"}
        yield f"{declare}s{target} = {_EXPRESSIONS[code].format(**names)};"
        if last[target] == i and target in live and not branches:
            yield f"S[{target}] = s{target};"
        if i == skipped_until:
            yield "}"
    if branches:
        yield from (f"S[{slot}] = s{slot};" for slot in sorted(last) if slot in live)


def _slots_read(op: list[int]) -> list[int]:
    code, _, *operands = op
    if code == SKIP:
        return operands[:1]
    return operands[: 3 if code == MUX else 1 if code in (NOT, COPY) else 2]


_HEAD = """#include <cstdint>
#include <cstring>
#if defined(__AVX512F__) && @BYTES@ == 64
#include <immintrin.h>
#endif
typedef uint64_t u64;
typedef int32_t i32;
typedef u64 V __attribute__((vector_size(@BYTES@)));
enum { WORDS = @BYTES@ / 8 };
static inline bool any(const V& v) {
#if defined(__AVX512F__) && @BYTES@ == 64
  return _mm512_test_epi64_mask((__m512i)v, (__m512i)v) != 0;
#else
  u64 all = 0;
  for (int i = 0; i < WORDS; i++) all |= v[i];
  return all != 0;
#endif
}
"""

_RUN = """
static V spread(bool bit) { V v; memset(&v, bit ? 255 : 0, sizeof v); return v; }

static void fault(const i32* op, const i32* row, const u64* masks, V* S) {
  u64* out = (u64*)&S[op[1]];
  const i32 first = row[1], span = row[2] - row[1];
  masks += row[0];
  for (i32 w = 0; w < span; w++) {
    u64 mask = masks[w];
    if (op[0] == 12) {
      for (i32 i = 0; i < row[3]; i++)
        mask &= ~(((const u64*)&S[row[4 + i]])[first + w] ^ masks[(1 + i) * span + w]);
      out[first + w] ^= mask;
    } else if (op[0] == 13) {
      out[first + w] = (out[first + w] & ~mask) | masks[span + w];
    } else {
      out[first + w] ^= ((const u64*)&S[op[3]])[first + w] & mask;
    }
  }
}

static void interpret(const i32* ops, i32 start, i32 stop, const i32* rows, const u64* masks, V* S) {
  for (i32 i = start; i < stop; i++) {
    const i32* op = ops + 5 * i;
    V& o = S[op[1]];
    const V a = S[op[0] < 12 ? op[2] : 0];
    switch (op[0]) {
      case 0: o = a & S[op[3]]; break;
      case 1: o = a & ~S[op[3]]; break;
      case 2: o = ~(a | S[op[3]]); break;
      case 3: o = a | S[op[3]]; break;
      case 4: o = a | ~S[op[3]]; break;
      case 5: o = ~(a & S[op[3]]); break;
      case 6: o = a ^ S[op[3]]; break;
      case 7: o = ~(a ^ S[op[3]]); break;
      case 8: o = ~a; break;
      case 9: o = a ^ ((a ^ S[op[3]]) & S[op[4]]); break;
      case 10: o = a; break;
      case 11: if (!any(a)) i += op[3]; break;
      default: fault(op, rows + 10 * op[2], masks, S);
    }
  }
}

static inline void count(V* counters, V carry) {
  for (int bit = 0; any(carry); bit++) {
    V held = counters[bit] & carry;
    counters[bit] ^= carry;
    carry = held;
  }
}

struct Job {
  const i32 *ops, *rows, *segments, *events, *inputs, *outputs, *states;
  const u64* masks;
  const uint8_t *initial, *stimulus, *expected, *expected_state;
  i32 chunks, compare_chunk, n_events, n_inputs, n_outputs, n_states, steps, reset_cycles;
  V *slots, *wrong_cycles, *wrong_bits, *differs;
  i32* first;
};

static inline void segment(const Job* j, i32 k) {
  const i32* s = j->segments + 3 * k;
  if (s[0]) interpret(j->ops, s[1], s[2], j->rows, j->masks, j->slots);
  else CHUNKS[k](j->slots);
}

static void compare(const Job* j, i32 cycle, V* ever) {
  const uint8_t* row = j->expected + (int64_t)cycle * j->n_outputs;
  V difference[@OUTPUTS@];
  V wrong = spread(false);
  for (i32 i = 0; i < j->n_outputs; i++) {
    difference[i] = j->slots[j->outputs[i]] ^ spread(row[i]);
    wrong |= difference[i];
  }
  if (!any(wrong)) return;
  count(j->wrong_cycles, wrong);
  V ones = spread(false);
  for (i32 i = 0; i < j->n_outputs; i += 2) {  // two at a time: the sum stays, the carry is counted
    V x = difference[i], y = i + 1 < j->n_outputs ? difference[i + 1] : spread(false);
    V either = x ^ y;
    V carry = (x & y) | (either & ones);
    ones ^= either;
    count(j->wrong_bits + 1, carry);
  }
  count(j->wrong_bits, ones);
  V fresh = wrong & ~*ever;
  if (!any(fresh)) return;
  *ever |= fresh;
  for (int w = 0; w < WORDS; w++)
    for (u64 bits = fresh[w]; bits; bits &= bits - 1) j->first[64 * w + __builtin_ctzll(bits)] = cycle;
}

extern "C" void bifocal_run(const Job* j) {
  V ever = spread(false);
  j->slots[1] = spread(true);
  for (i32 i = 0; i < j->n_states; i++) j->slots[j->states[i]] = spread(j->initial[i]);
  i32 event = 0;
  for (i32 step = 0; step < j->steps; step++) {
    for (; event < j->n_events && j->events[4 * event] == step; event++) {
      const i32* e = j->events + 4 * event;
      ((u64*)&j->slots[e[1]])[e[2]] ^= (u64)1 << e[3];
    }
    const uint8_t* bits = j->stimulus + (int64_t)step * j->n_inputs;
    for (i32 i = 0; i < j->n_inputs; i++) j->slots[j->inputs[i]] = spread(bits[i]);
    for (i32 k = 0; k < j->compare_chunk; k++) segment(j, k);
    if (step >= j->reset_cycles) compare(j, step - j->reset_cycles, &ever);
    for (i32 k = j->compare_chunk; k < j->chunks; k++) segment(j, k);
  }
  V differs = spread(false);
  for (i32 i = 0; i < j->n_states; i++) differs |= j->slots[j->states[i]] ^ spread(j->expected_state[i]);
  *j->differs = differs;
}
"""
