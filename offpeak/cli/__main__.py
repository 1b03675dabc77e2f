"""`python -m offpeak.cli`: the same as the `offpeak` script."""

from offpeak.cli import main

main()
