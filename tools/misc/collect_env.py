"""Print the versions of everything that matters: paste it into a report of a problem.

Example::

    python tools/misc/collect_env.py
"""

from mmground.utils.collect_env import collect_env


def main() -> None:
    """Print the report, a line per entry."""
    for name, value in collect_env().items():
        print(f'{name}: {value}')


if __name__ == '__main__':
    main()
