"""Audits: weights by digest or by value, attributes by value. Exact, and first in the order of execution."""

from parity.audit.files import audit_files
from parity.audit.manifests import audit_attributes, audit_weights, same_attribute, weight_address

__all__ = ["audit_attributes", "audit_files", "audit_weights", "same_attribute", "weight_address"]
