#!/usr/bin/env python3
"""Checks that whatever lists the flags lists those of --help: the manual pages, docs/configuration.md,
the example configuration and the shells' completions. A flag that one of them lacks is an error, and
so is one that only they have.

Usage: documents_test.py SOURCE_DIRECTORY DFLOCKD DFLOCKD_BENCH DFLOCKCTL
"""

import re
import subprocess
import sys
from pathlib import Path

# How zsh (the action behind the last colon) and fish (the options) complete what --help calls a value.
ZSH_ACTIONS = {"FILE": "_files", "ADDRESS": "_hosts", "LEVEL": "(debug info warn error)",
               "FORMAT": "(text json)", "SECONDS": " ", "NUMBER": " ", "PORT": " ", "TOKEN": " ",
               "ORIGINS": " ", "HOSTS": "_hosts"}
FISH_OPTIONS = {"FILE": "-r -F", "ADDRESS": "-x -a '(__fish_print_hostnames)'",
                "LEVEL": "-x -a 'debug info warn error'", "FORMAT": "-x -a 'text json'",
                "SECONDS": "-x", "NUMBER": "-x", "PORT": "-x", "TOKEN": "-x", "ORIGINS": "-x",
                "HOSTS": "-x -a '(__fish_print_hostnames)'"}
COMMAND_LINE_ONLY = {"config", "check-config", "version", "help"}

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
        self.value = value  # as --help calls it: FILE, SECONDS, ...; None without one
        found = re.search(r"\[(?:(\w+), )?default (.+?)\]", description)
        self.environment, self.default = found.groups() if found else (None, None)
        variable = re.search(r"\(Env:(\w+)\)", description)  # as CLI11 shows it itself
        self.variable = variable[1] if variable else None
        self.negation = f"no-{name}" if f"--no-{name} " in description else None


def flags_of(*program):
    """The flags that the program's --help lists, by name."""
    pieces = re.split(r"^  (?:-\w,)?--", output_of(*program, "--help"), flags=re.MULTILINE)[1:]
    heads = [re.match(r"([a-z0-9-]+)(?: ([A-Z]+)\b)?(.*)", piece, re.DOTALL) for piece in pieces]
    flags = {head[1]: Flag(*head.groups()) for head in heads}
    assert "help" in flags, f"cannot read the --help of {program[-1]}"
    return flags


def items_of(page, macro):
    """The items of a manual page whose heads begin with `macro`: name and what follows."""
    pieces = re.split(rf"^\.It (?:Fl \w , )?{re.escape(macro)}", page.read_text(),
                      flags=re.MULTILINE)[1:]
    return [tuple(re.match(r"([a-z0-9-]+)(.*?)(?=^\.It|^\.El|\Z)", piece,
                           re.DOTALL | re.MULTILINE).groups()) for piece in pieces]


def check_page(page, flags):
    items = items_of(page, "Fl -")
    check_equal(page.name, [name for name, _ in items], list(flags))
    for name, text in items:
        flag = flags.get(name)
        if flag and flag.environment:
            told = f".Pq Ev {flag.environment} , No default {flag.default}"
            check(told in text.splitlines(), f"{page.name}: {name}: lacks '{told}'")
        if flag and flag.negation:
            check(f".Fl -{flag.negation}\n" in text, f"{page.name}: lacks {flag.negation}")


def check_file_page(page, flags):
    items = items_of(page, "Ic ")
    check_equal(page.name, [name for name, _ in items], list(flags.keys() - COMMAND_LINE_ONLY))
    for name, text in items:
        flag = flags.get(name)
        if flag:
            default = "" if flag.default == "none" else flag.default
            shown = default if re.fullmatch(r"\d+|true|false", default) else f'"{default}"'
            check(f"Default: {shown}" in text.splitlines(), f"{page.name}: {name}: lacks 'Default: {shown}'")


def check_configuration(page, flags):
    rows = re.findall(r"^\| (`--.*)", page.read_text(), re.MULTILINE)
    check_equal(page.name, [re.match(r"`--([a-z0-9-]+)`", row)[1] for row in rows], list(flags))
    for flag in flags.values():
        if not flag.environment:
            continue
        default = "none" if flag.default == "none" else f"`{flag.default}`"
        told = f"`--{flag.name}` | `{flag.environment}` | "
        if flag.name not in COMMAND_LINE_ONLY:  # their table has no column of defaults
            told += f"{default} | "
        check(any(row.startswith(told) for row in rows), f"{page.name}: lacks '| {told}'")


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


def spellings(flags):
    return [name for flag in flags.values() for name in (flag.name, flag.negation) if name]


def bash_completes(script, program, *words):
    """What bash offers for the last of the words."""
    code = ('source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); compopt() { :; }\n'
            'complete -p "$1" >/dev/null\n'
            '"$(complete -p "$1" | sed "s/.*-F \\([^ ]*\\).*/\\1/")"; printf "%s\\n" "${COMPREPLY[@]}"')
    return output_of("bash", "-ec", code, "bash", script, program, *words, cwd=script.parent).split()


def check_bash(script, program, flags):
    offered = [word.removeprefix("--") for word in bash_completes(script, program, "--")]
    check_equal(script.name, offered, spellings(flags))
    for flag in flags.values():
        offered = bash_completes(script, program, f"--{flag.name}", "")
        expected = {None: None, "FILE": True, "LEVEL": ["debug", "info", "warn", "error"],
                    "FORMAT": ["text", "json"]}.get(flag.value, [])
        if program == "dflockd" and flag.value not in ("ADDRESS", "HOSTS") and expected is not None:
            good = script.name in offered if expected is True else offered == expected
            check(good, f"{script.name}: offers {offered} as the {flag.value} of {flag.name}")
        if flag.value:
            check("--help" not in offered, f"{script.name}: offers flags as the value of {flag.name}")


def check_zsh(script, program, flags):
    specs = re.findall(r"""^  ['"](?:\([^)]*\))?(?:'\{-h,)?--([a-z0-9-]+)(.*?)['"]?(?: \\)?$""",
                       script.read_text(), re.MULTILINE)
    check_equal(script.name, [name for name, _ in specs], spellings(flags))
    for name, rest in specs:
        flag = flags.get(name)
        if flag and flag.value:
            check(rest.startswith("=["), f"{script.name}: {name}: takes no value")
            if program == "dflockd":
                action = ZSH_ACTIONS[flag.value]
                check(rest.endswith(f":{action}"), f"{script.name}: {name}: not completed by '{action}'")


def check_fish(script, program, flags):
    lines = re.findall(rf"^complete -c {program}(?: -s \w)? -l ([a-z0-9-]+) (.*?) ?-d ", script.read_text(),
                       re.MULTILINE)
    check_equal(script.name, [name for name, _ in lines], spellings(flags))
    for name, options in lines:
        flag = flags.get(name)
        if flag and flag.value:
            check(re.match("-[xr]", options), f"{script.name}: {name}: takes no value")
            if program == "dflockd":
                wanted = FISH_OPTIONS[flag.value]
                check(options == wanted, f"{script.name}: {name}: not completed by '{wanted}'")


def subcommands_of(program):
    """The subcommands that --help lists, each with the flags it takes."""
    general = flags_of(program)
    listed = output_of(program, "--help").split("\nSubcommands:\n")[1].split("\n\n")[0]
    names = re.findall(r"^  ([a-z]+) ", listed, re.MULTILINE)
    return general, {name: general | flags_of(program, name) for name in names}


def check_subcommands(source, program):
    """dflockctl, whose flags differ from subcommand to subcommand."""
    general, subcommands = subcommands_of(program)
    everything = {name: flag for flags in subcommands.values() for name, flag in flags.items()}
    page = source / "docs/man/dflockctl.1"
    check_page(page, everything)
    check_equal(page.name, re.findall(r"^\.It Cm ([a-z]+)$", page.read_text(), re.MULTILINE), list(subcommands))
    variables = {variable for flag in general.values() for variable in [flag.variable] if variable}
    for variable in variables | {"DFLOCKD_AUTH_TOKEN", "DFLOCKD_KEY", "DFLOCKD_TOKEN", "DFLOCKD_FENCE"}:
        check(re.search(rf"^\.Ev {variable}\b", page.read_text(), re.MULTILINE), f"{page.name}: lacks {variable}")

    completions = source / "packaging/completions"
    script = completions / "dflockctl.bash"
    check_equal(script.name, bash_completes(script, "dflockctl", ""), list(subcommands))
    check_equal(script.name, bash_completes(script, "dflockctl", "--"), [f"--{name}" for name in general])
    for name, flags in subcommands.items():
        offered = bash_completes(script, "dflockctl", name, "--")
        check_equal(f"{script.name}: {name}", offered, [f"--{flag}" for flag in flags])
        for flag in flags.values():
            offered = bash_completes(script, "dflockctl", name, f"--{flag.name}", "")
            check(not flag.value or "--help" not in offered,
                  f"{script.name}: {name}: offers flags as the value of {flag.name}")
    check("--help" not in bash_completes(script, "dflockctl", "lock", "k", "--", "ls", "-"),
          f"{script.name}: offers its flags to the command")

    zsh = completions / "_dflockctl"
    found = re.findall(r"""--([a-z-]+)(?==?-?\[|\}')""", zsh.read_text())
    check_equal(zsh.name, sorted(set(found)), list(everything))
    for name in subcommands:
        check(re.search(rf"^  {name}\) _arguments", zsh.read_text(), re.MULTILINE), f"{zsh.name}: lacks {name}")
    fish = completions / "dflockctl.fish"
    check_equal(fish.name, re.findall(r"^complete .*-l ([a-z-]+)\b", fish.read_text(), re.MULTILINE), list(everything))
    check_equal(fish.name, re.findall(r"^complete .*_uses none' -a ([a-z]+)", fish.read_text(), re.MULTILINE),
                list(subcommands))
    return everything


def main():
    source, *programs = sys.argv[1:]
    *programs, dflockctl = programs
    source = Path(source).resolve()
    completions = source / "packaging/completions"
    dflockd, bench = (flags_of(program) for program in programs)

    check_page(source / "docs/man/dflockd.8", dflockd)
    check_file_page(source / "docs/man/dflockd.toml.5", dflockd)
    check_page(source / "docs/man/dflockd-bench.1", bench)
    check_configuration(source / "docs/configuration.md", dflockd)
    check_example(source / "packaging/dflockd.toml.example", programs[0])
    for program in (*programs, dflockctl):
        check(output_of(program, "-h") == output_of(program, "--help"), f"{program}: -h is not --help")
    for program, flags in (("dflockd", dflockd), ("dflockd-bench", bench)):
        check_bash(completions / f"{program}.bash", program, flags)
        check_zsh(completions / f"_{program}", program, flags)
        check_fish(completions / f"{program}.fish", program, flags)

    ctl = check_subcommands(source, dflockctl)

    print("\n".join(failures) or f"{len(dflockd)}, {len(bench)} and {len(ctl)} flags are everywhere")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
