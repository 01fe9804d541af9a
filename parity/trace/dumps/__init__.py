"""What other tools left on the disk, read as traces of one run; `parity.trace.dumps.dump` has the table."""
