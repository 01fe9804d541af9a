"""Recordings of systems that continuous integration does not have, replayed without them."""
