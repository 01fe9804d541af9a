"""What became of a tensor: one array held against another, by equality. The one vocabulary of audits and diagnosis."""

from parity.changes.change import Change, ChangeKind, exact_change, measured_change, variant_of

__all__ = ["Change", "ChangeKind", "exact_change", "measured_change", "variant_of"]
