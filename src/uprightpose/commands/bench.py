"""``uprightpose bench``: how fast everything is, side by side with its peers."""

from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace

from uprightpose.errors import InputError


def add(subcommands: Any) -> None:
    """Declare the command."""
    parser = ArgumentParser(
        description="Time what we do against other ways to do it. Outputs must agree first; then "
        "the contenders take turns in one process. Prints medians, ratios, bars and the least "
        "that this machine could need. Peers that are not installed are named; "
        "`pip install -e '.[bench]'` brings them. Missed bars are said; they are no error.",
    )
    parser.add_argument(
        "names", type=str, nargs="*", metavar="NAME", help="beginnings of names; by default all"
    )
    parser.add_argument("--list", action="store_true", help="only print the names")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each contender")
    parser.add_argument("--threads", type=int, default=0, help="of torch and OpenCV; 0 for all")
    parser.add_argument("--out", type=str, metavar="FILE.json", help="write all numbers there")
    subcommands.add_subcommand("bench", parser, help="how fast everything is, side by side")


def run(arguments: Namespace) -> int:
    """Run the command."""
    import json
    import os

    from uprightpose.data.writing import make_folder, write_whole

    if arguments.rounds < 1 or arguments.threads < 0:
        raise InputError("bench: expected --rounds of at least 1 and --threads of at least 0")

    from uprightpose.bench.suite import GROWTH, choose

    cases = choose(arguments.names)
    grows = [GROWTH] * (not arguments.names or GROWTH in arguments.names)
    if arguments.list:
        print("\n".join([*cases, *grows]))
        return 0
    out = Path(arguments.out) if arguments.out else None
    if out is not None:
        make_folder(out.parent)

    from uprightpose.bench import growth
    from uprightpose.bench.machine import measure_machine
    from uprightpose.bench.report import as_json, describe, describe_growth, describe_machine
    from uprightpose.bench.timing import compare

    threads = arguments.threads or os.cpu_count() or 1
    machine = measure_machine(threads)
    print(describe_machine(machine), flush=True)
    outcomes = []
    for number, case in enumerate(cases.values(), 1):
        print(f"[{number}/{len(cases)}] ", end="", flush=True)
        outcome = compare(case(threads), machine, rounds=arguments.rounds)
        outcomes.append(outcome.without_work())
        print(describe(outcome), flush=True)
    if grows:
        print("growth: eight processes, about two minutes ...", flush=True)
    sizes = growth.growth(threads) if grows else []
    if sizes:
        print(describe_growth(sizes), flush=True)
    if out is not None:
        content = as_json(machine, outcomes, sizes, arguments.rounds)
        write_whole(out, (json.dumps(content, indent=1) + "\n").encode())
        print(f"numbers: {out}")
    missed = sum(met is False for one in outcomes for met in map(one.met, one.comparison.bars))
    print(f"{len(outcomes)} comparisons, {missed} bars missed")
    return 0
