"""Prints how many programs our linker puts together as libbpf does, and each difference.

    instructions.py KERNEL_JSONL LINKED

KERNEL_JSONL is what loader.c has printed, LINKED what examples/link.rs has. Functions may stand in another order, and maps and kernel
functions have other numbers, and `sidestep verify` does not know where the kernel's functions are: calls of functions and loads of
addresses are left out. It also prints why programs that libbpf has put together are not linked. The exit status is 1 if anything differs,
or if more than one in twenty is not linked.
"""

import collections
import json
import re
import sys

MOST_NOT_LINKED = 1 / 20
NOT_LINKED = "not-linked:"

SLOT = 16  # digits
WIDE_LOAD, CALL = 0x18, 0x85
# libbpf's numbers of helpers that stand for weak functions that the kernel does not have: this, and the number of the function.
NO_SUCH_FUNCTIONS = range(2_002_000_000, 2_003_000_000)


def instructions(digits):
    """How often each instruction is there."""
    slots = [digits[at : at + SLOT] for at in range(0, len(digits), SLOT)]
    found, at = collections.Counter(), 0
    while at < len(slots):
        code, source = int(slots[at][:2], 16), int(slots[at][2], 16)
        length = 2 if code == WIDE_LOAD else 1
        linked = source != 0 and code in (WIDE_LOAD, CALL)
        # The upper half of an address in the kernel.
        address = code == WIDE_LOAD and slots[at + 1].endswith("ffffffff")
        missing = code == CALL and int.from_bytes(bytes.fromhex(slots[at][8:]), "little") in NO_SUCH_FUNCTIONS
        if not (linked or address or missing):
            found["".join(slots[at : at + length])] += 1
        at += length
    return found


def main():
    linked = {}
    for line in open(sys.argv[2], encoding="utf-8"):
        name, program, *rest = line.split()
        linked[name, program] = rest
    count, reasons = collections.Counter(), collections.Counter()
    for text in open(sys.argv[1], encoding="utf-8", errors="replace"):
        line = json.loads(text)
        if not line["insns"]:
            continue
        missing = [NOT_LINKED, "the program is missing"]
        rest = linked.get((line["object"], line["program"])) or linked.get((line["object"], "*")) or missing
        if rest[0] == NOT_LINKED:
            count["not linked"] += 1
            reasons[re.sub(r'"[^"]*"|[0-9]+', "...", " ".join(rest[1:]))] += 1
            continue
        digits, applied, unresolved = rest[0], int(rest[1]), int(rest[2])
        theirs, ours = instructions(line["insns"]), instructions(digits)
        count["programs"] += 1
        count["with CO-RE relocations"] += applied + unresolved > 0
        count["relocations"] += applied + unresolved
        count["of these without a counterpart in the kernel"] += unresolved
        if ours != theirs:
            count["different"] += 1
            print(line["object"], line["program"], "libbpf:", dict(theirs - ours), "ours:", dict(ours - theirs))
    print("Instructions compared with libbpf's:", ", ".join(f"{number} {what}" for what, number in count.items()))
    if reasons:
        print("Not linked:")
    for reason, number in reasons.most_common():
        print(f"{number:6} {reason}")
    if count["not linked"] > MOST_NOT_LINKED * count["programs"]:
        print("These are too many.")
        return 1
    return 1 if count["different"] or not count["programs"] else 0


sys.exit(main())
