"""`python -m vecferry`: the command line."""

from vecferry.cli import main

if __name__ == "__main__":
    main()
