#!/usr/bin/env python3
"""Checks what is generated from the declarations of the flags: manual pages, the example configuration and
completions are valid and hold every flag of --help. And that docs/configuration.md, which is written by
hand, has them too.

Usage: documents_test.py SOURCE_DIRECTORY GENERATED DFLOCKD DFLOCKD_BENCH DFLOCKCTL
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

COMMAND_LINE_ONLY = {"config", "check-config", "version", "help"}
# Without these the files are checked by `make package-test` alone, which installs them.
LINTERS = {"mandoc": ("-T", "lint", "-W", "warning"), "zsh": ("-n",), "fish": ("-n",), "bash": ("-n",)}

failures = []


def check(condition, what):
    if not condition:
        failures.append(what)


def check_equal(where, found, expected):
    """Both are lists of names."""
    for name in sorted(set(expected) - set(found)):
        failures.append(f"{where}: lacks {name}")
    for name in sorted(set(found) - set(expected)):
        failures.append(f"{where}: has {name}, which --help does not have")
    for name in sorted({name for name in found if found.count(name) > 1}):
        failures.append(f"{where}: has {name} more than once")


def output_of(*command, cwd=None):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, cwd=cwd).stdout


class Flag:
    def __init__(self, name, value, description):
        self.name = name
        self.value = value  # as --help calls it: FILE, SECONDS, text|json, ...; None without one
        found = re.search(r"\[(?:(\w+), )?default (.+?)\]", description)
        self.environment, self.default = found.groups() if found else (None, None)
        self.negation = f"no-{name}" if f"--no-{name} " in description else None


def flags_of(*program):
    """The flags that the program's --help lists, by name."""
    pieces = re.split(r"^  (?:-\w,)?--", output_of(*program, "--help"), flags=re.MULTILINE)[1:]
    heads = [re.match(r"([a-z0-9-]+)(?: ([A-Z]+|[a-z]+(?:\|[a-z]+)+)(?=[\s=]))?(.*)", piece, re.DOTALL) for piece in pieces]
    flags = {head[1]: Flag(*head.groups()) for head in heads}
    assert "help" in flags, f"cannot read the --help of {program[-1]}"
    return flags


def spellings(flags):
    return [name for flag in flags.values() for name in (flag.name, flag.negation) if name]


def check_valid(file, linter):
    if not shutil.which(linter):
        return
    result = subprocess.run([linter, *LINTERS[linter], file], capture_output=True, text=True, check=False)
    check(result.returncode == 0, f"{file.name}: {linter}: {result.stdout}{result.stderr}")


def check_page(page, macro, names):
    check_equal(page.name, re.findall(rf"^\.It (?:Fl \w , )?{re.escape(macro)}([a-z0-9-]+)", page.read_text(), re.MULTILINE),
                names)


def check_configuration(page, flags):
    rows = re.findall(r"^\| (`--.*)", page.read_text(), re.MULTILINE)
    check_equal(page.name, [re.match(r"`--([a-z0-9-]+)`", row)[1] for row in rows], list(flags))
    for flag in flags.values():
        if not flag.environment:
            continue
        default = "none" if flag.default == "none" else f"`{flag.default}`"
        start = f"`--{flag.name}` | `{flag.environment}` | "
        if flag.name not in COMMAND_LINE_ONLY:  # their table has no column of defaults
            start += f"{default} | "
        check(any(row.startswith(start) for row in rows), f"{page.name}: lacks '| {start}'")


def check_example(example, dflockd):
    """The example names the settings that --check-config prints, and changes none of them."""
    def keys(text):
        return re.findall(r"^([a-z0-9-]+) = ", text, re.MULTILINE)

    without = output_of(dflockd, "--check-config")
    check_equal(example.name, keys(example.read_text()), keys(without))
    result = subprocess.run([dflockd, "--check-config", "--config", example], capture_output=True,
                            text=True, check=False)
    check(result.returncode == 0, f"{example.name}: {result.stderr.strip()}")
    check(result.returncode != 0 or result.stdout == without,
          f"{example.name}: changes what --check-config prints")


def bash_completes(script, *words):
    """What bash offers for the last of the words; the first is the program."""
    code = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); compopt() { :; }\n'
            'complete -p "$1" >/dev/null\n'
            '"$(complete -p "$1" | sed "s/.*-F \\([^ ]*\\).*/\\1/")"; printf "%s\\n" "${COMPREPLY[@]}"')
    return output_of("bash", "-ec", code, "bash", script, *words, cwd=script.parent).split()


def check_completions(directory, name, subcommands):
    """`subcommands` are the flags by the words that take them; the program's own have none."""
    files = {"bash": directory / f"{name}.bash", "zsh": directory / f"_{name}", "fish": directory / f"{name}.fish"}
    everything = [word for flags in subcommands.values() for word in spellings(flags)]
    for shell, file in files.items():
        check_valid(file, shell)
    found = re.findall(r"--([a-z0-9-]+)\}?'?(?:=-?)?\[", files["zsh"].read_text())
    check_equal(files["zsh"].name, sorted(set(found)), sorted(set(everything)))
    found = re.findall(r"^complete .* -l ([a-z0-9-]+)", files["fish"].read_text(), re.MULTILINE)
    check_equal(files["fish"].name, found, sorted(set(everything)))
    for words, flags in subcommands.items():
        check_bash(files["bash"], (name, *words), flags)
    return everything


def check_bash(script, words, flags):
    offered = [word.removeprefix("--") for word in bash_completes(script, *words, "--")]
    check_equal(f"{script.name}: {words}", offered, spellings(flags))
    for flag in flags.values():
        if not flag.value:
            continue
        offered = bash_completes(script, *words, f"--{flag.name}", "")
        check("--help" not in offered, f"{script.name}: offers flags as the value of {flag.name}")
        expected = flag.value.split("|") if "|" in flag.value else [script.name] if flag.value == "FILE" else []
        check(set(expected) <= set(offered), f"{script.name}: offers {offered} as the {flag.value} of {flag.name}")


def subcommands_of(program):
    """The flags of the program itself and, with them, those of each subcommand."""
    general = flags_of(program)
    listed = output_of(program, "--help").split("\nSubcommands:\n")[1].split("\n\n")[0]
    names = re.findall(r"^  ([a-z]+) ", listed, re.MULTILINE)
    return {(): general} | {(name,): general | flags_of(program, name) for name in names}


def main():
    source, generated, dflockd, bench, dflockctl = sys.argv[1:]
    generated = Path(generated).resolve()
    flags = {"dflockd": {(): flags_of(dflockd)}, "dflockd-bench": {(): flags_of(bench)},
             "dflockctl": subcommands_of(dflockctl)}

    settings = flags["dflockd"][()]
    everything = {name: sorted({word for some in programs.values() for word in some}) for name, programs in flags.items()}
    for page in ("dflockd.8", "dflockd-bench.1", "dflockctl.1"):
        check_page(generated / page, "Fl -", everything[page.rsplit(".", 1)[0]])
    check_page(generated / "dflockd.toml.5", "Ic ", list(settings.keys() - COMMAND_LINE_ONLY))
    for page in generated.glob("*.[158]"):
        check_valid(page, "mandoc")
    check_configuration(Path(source) / "docs/configuration.md", settings)
    check_example(generated / "dflockd.toml.example", dflockd)
    for name, programs in flags.items():
        check_completions(generated, name, programs)
    for program in (dflockd, bench, dflockctl):
        check(output_of(program, "-h") == output_of(program, "--help"), f"{program}: -h is not --help")

    script = generated / "dflockctl.bash"
    subcommands = [words[0] for words in flags["dflockctl"] if words]
    check_equal(script.name, bash_completes(script, "dflockctl", ""), subcommands)
    check("--help" not in bash_completes(script, "dflockctl", "lock", "k", "--", "ls", "-"),
          f"{script.name}: offers its flags to the command")

    print("\n".join(failures) or f"{ {name: len(words) for name, words in everything.items()} } flags are everywhere")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
