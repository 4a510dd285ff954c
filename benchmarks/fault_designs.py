"""Public designs through ``bifocal faults run``, each as one command: which run, and what stops the others.

``benchmarks/faults/designs.tsv`` lists repository, commit, command and what happened; the sources are not
here. Clone each repository as ``OWNER+NAME`` into a folder, then:

    python -m benchmarks.fault_designs --repositories FOLDER

writes the last columns anew; with ``--only NAME`` of one design. Random stimulus, 500 cycles, a sample of
faults: this says whether a design gets in, not what its scores are.
"""

from __future__ import annotations

import argparse
import csv
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from bifocal.storage.filesystem import write_atomically

TABLE = Path(__file__).parent / "faults" / "designs.tsv"
#: What every command gets besides its own arguments.
SETTINGS = ("--no-carry", "--cycles", "500", "--budget", "2e6", "--yosys", "wheel")
#: What is taken out of a repository.
KINDS = ("v", "vh", "sv", "svh", "vhd", "vhdl", "hex", "mem", "inc", "dat")
COLUMNS = ("design", "repository", "commit", "command", "runs", "luts", "flipflops", "what_happened")


def read_table() -> list[dict[str, str]]:
    """The rows of the table, by column."""
    with TABLE.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def write_table(rows: list[dict[str, str]]) -> None:
    """Replace the table."""
    lines = ["\t".join(COLUMNS), *("\t".join(row[name] for name in COLUMNS) for row in rows)]
    write_atomically(TABLE, ("\n".join(lines) + "\n").encode(), overwrite=True)


def extract(repository: Path, commit: str, folder: Path) -> None:
    """The HDL of a commit, as files in ``folder``; what a partial clone lacks is left out."""
    git = ["git", "-C", str(repository / "repo" if (repository / "repo").is_dir() else repository)]
    listed = subprocess.run(
        [*git, "ls-tree", "-r", "-z", "--name-only", commit], check=True, capture_output=True, text=True
    )
    for name in listed.stdout.split("\0"):
        if name.rpartition(".")[2].lower() in KINDS:
            shown = subprocess.run([*git, "cat-file", "blob", f"{commit}:{name}"], capture_output=True)
            if not shown.returncode:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(shown.stdout)


def run(row: dict[str, str], repositories: Path, timeout: float) -> None:
    """Try one design, and note what happened in its row."""
    with tempfile.TemporaryDirectory(prefix="bifocal-designs-") as name:
        folder = Path(name)
        extract(repositories / row["repository"].replace("/", "+"), row["commit"], folder)
        arguments = [
            word
            for part in shlex.split(row["command"])
            for word in (
                sorted(str(p.relative_to(folder)) for p in folder.glob(part)) if "*" in part else [part]
            )
        ]
        program = Path(sys.executable).parent / "bifocal"
        command = [str(program), "faults", "run", *arguments, *SETTINGS, "--out", "report"]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout)
        except subprocess.TimeoutExpired:
            row |= {
                "runs": "no",
                "luts": "",
                "flipflops": "",
                "what_happened": f"stopped after {timeout:g} s",
            }
            return
    size = re.search(r"^design +.*: ([\d,]+) LUTs, ([\d,]+) flip-flops", done.stdout, re.MULTILINE)
    row["luts"], row["flipflops"] = size.groups() if size else ("", "")
    row["runs"] = "yes" if re.search("^found ", done.stdout, re.MULTILINE) else "no"
    row["what_happened"] = _outcome(done)


def _found(folder: Path, pattern: str) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.glob(pattern))


def _outcome(done: subprocess.CompletedProcess[str]) -> str:
    """What was found, or the first lines of the refusal, on one line."""
    found = re.search(r"^found +(.*)$", done.stdout, re.MULTILINE)
    warnings = re.findall(r"^warning +(.*)$", done.stdout, re.MULTILINE)
    text = " Warning: ".join([found[1], *warnings]) if found else done.stderr.strip()
    return re.sub(r"\s+", " ", text.removeprefix("bifocal: "))[:400]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repositories", type=Path, required=True, help="folder of clones, OWNER+NAME each")
    parser.add_argument("--only", action="append", help="only this design; may be given several times")
    parser.add_argument("--timeout", type=float, default=1800.0, help="seconds for each design")
    options = parser.parse_args()
    rows = read_table()
    for row in rows:
        if options.only and row["design"] not in options.only:
            continue
        run(row, options.repositories, options.timeout)
        write_table(rows)
        print(row["design"], row["runs"], row["what_happened"][:150], flush=True)
    print(f"{sum(row['runs'] == 'yes' for row in rows)} of {len(rows)} run")


if __name__ == "__main__":
    main()
