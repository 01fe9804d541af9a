"""Parts of `compare_peers.py`: the files that are compared, the tools, and the measuring of a process."""
