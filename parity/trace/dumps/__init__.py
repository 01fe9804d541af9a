"""What other tools left on the disk, read as traces of one run; a module here with a `FORMAT` is a format."""
