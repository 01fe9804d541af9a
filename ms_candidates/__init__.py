"""Candidates for MindSpore systems that are not ours: the code under test comes from elsewhere and is not edited."""
