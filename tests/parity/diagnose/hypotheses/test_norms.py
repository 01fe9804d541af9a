"""A fitted epsilon."""

from tests.parity.diagnose.faults import FAULTS, causes, traces


def test_a_fitted_epsilon_is_the_candidate_s(tmp_path):
    (cause,) = causes(*traces(tmp_path, *FAULTS["norm-epsilon"][:5]))
    assert "eps = 1e-07" in cause.evidence[0]
    assert cause.edits == [{"kind": "attribute", "path": "text_encoder_2.ln", "name": "eps", "value": 1e-5}]
