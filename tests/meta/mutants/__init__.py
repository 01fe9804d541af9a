"""Would the tests notice? Small changes are drawn in chosen modules, and the tests that can see each one are run.

`changes` knows the kinds of changes, `sight` which tests execute which line, `trial` runs tests with a change in a process
of its own; `python -m tests.meta.mutants --help` draws and tells.
"""
