"""Refuse in one line when a port that `make run` needs is taken: `check_ports.py PORT=3000 PROVIDER_PORT=8099`.

The names are make's variables, so that the line can say how to choose another.
"""

import sys

from offpeak.processes import holder_of, port_is_free


def refusal(name: str, port: int) -> str | None:
    """The line for a port that is taken; None for a free one."""
    if port_is_free(port):
        return None
    return f"Port {port} is in use by {holder_of(port)}: choose another with `make run {name}={port + 1}`."


def main(arguments: list[str]) -> int:
    for argument in arguments:
        name, _, number = argument.partition("=")
        if not (number.isdecimal() and 0 < int(number) < 65536):
            print(f"{name} is {number!r}: a port is a number from 1 to 65535.", file=sys.stderr)
            return 1
        line = refusal(name, int(number))
        if line:
            print(line, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
