"""Prints, for each program type, how often `sidestep verify` and the kernel agree on the kernel's selftests.

    compare.py KERNEL_JSONL VERDICTS

KERNEL_JSONL is what loader.c has printed; VERDICTS has the answer of `sidestep verify --format json` for each object.
The exit status is 1 if a program that the kernel refuses was accepted.
"""

import collections
import json
import pathlib
import re
import sys


def kernel_word(line):
    """What the kernel's verifier said, or None if the load ended before it or for another reason."""
    if line["result"] == 0:
        return "accept"
    if not line["walked"]:
        return None
    # A program that passed, in an object whose maps need other programs, ends without a reason.
    return "reject" if line["last"] else "accept"


def last_line(line):
    """The kernel's reason: where libbpf has put a call that no kernel takes, it replaces what the kernel says of that call."""
    return "invalid func unknown#195896080" if "CO-RE relocation" in line["last"] else line["last"]


def without_numbers(text):
    return re.sub(r"[0-9]+", "#", text)


def main():
    kernel = {}
    for text in open(sys.argv[1], encoding="utf-8", errors="replace"):
        line = json.loads(text)
        kernel[line["object"], line["program"]] = line
    types = collections.defaultdict(collections.Counter)
    different, not_judged = [], collections.Counter()
    same_reason = all_reasons = 0
    for path in sorted(pathlib.Path(sys.argv[2]).glob("*.json")):
        text = path.read_text(encoding="utf-8")
        for verdict in json.loads(text) if text else []:
            line = kernel.get((path.stem, verdict["name"].split(" ")[0]))
            theirs = line and kernel_word(line)
            if not theirs:
                continue
            ours, row = verdict["verdict"], types[verdict.get("prog_type") or "unknown symbols"]
            row["programs"] += 1
            reason = verdict.get("reason", "")
            if ours in ("unsupported", "error"):
                row["not judged"] += 1
                reason = without_numbers(re.sub(r"^insn \d+: ", "", reason))
                not_judged[re.sub(r'^"[^"]*"|global function \S+', "...", reason)] += 1
            elif ours == theirs:
                row["agree"] += 1
                if ours == "reject":
                    all_reasons += 1
                    same_reason += without_numbers(last_line(line)) in without_numbers(reason)
            else:
                row[f"false {ours}"] += 1
                different.append(f"{path.stem} {verdict['name']}: false {ours}; kernel: {line['last']}; ours: {reason}")
    columns = ["programs", "agree", "false accept", "false reject", "not judged"]
    print("| type | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    total = collections.Counter()
    for name, row in sorted(types.items()):
        total.update(row)
        print(f"| {name} | " + " | ".join(str(row[column]) for column in columns) + " |")
    print("| all | " + " | ".join(str(total[column]) for column in columns) + " |")
    print(f"\nThe last line of the kernel's log is in the reason of {same_reason} of {all_reasons} rejections.")
    print("\nNot judged:")
    for reason, count in not_judged.most_common():
        print(f"{count:6} {reason}")
    print("\n".join(["", "Different:", *different] if different else ["", "No difference."]))
    return 1 if total["false accept"] else 0


sys.exit(main())
