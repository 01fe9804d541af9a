"""The mapping as a file that a person edits."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parity.errors import AlignmentError
from parity.mapping import Counterpart, Mapping, encode, read

NAMES = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="@:"), min_size=1, max_size=20)


@given(path=NAMES, native=NAMES, evidence=st.text(max_size=30).filter(lambda text: "\ud800" not in text))
def test_what_is_written_reads_back(tmp_path_factory, path, native, evidence):
    pair = Counterpart(
        path=path, native=native, confidence=0.25, call=1, native_call=0, transform="slice:1/3", accepted=True,
        port="output.1", take="output.0", weights={"weight": "gamma transpose"}, evidence=evidence,
    )  # fmt: skip
    mapping = Mapping(counterparts=[pair], not_compared={f"{path}x": "identity"}, threshold=0.5)
    file = tmp_path_factory.mktemp("table") / "mapping.toml"
    file.write_bytes(encode(mapping, "made").encode("utf-8", "surrogatepass"))
    assert read(file) == mapping


def test_a_pair_is_judged_from_the_threshold_up_or_when_accepted():
    sure, unsure, none = (
        Counterpart(path="a", native=name, confidence=c) for name, c in (("b", 0.9), ("b", 0.89), ("", 1.0))
    )
    accepted = Counterpart(path="a", native="b", confidence=0.0, accepted=True)
    mapping = Mapping(counterparts=[sure, unsure, none, accepted])
    assert [mapping.judged(pair) for pair in mapping.counterparts] == [True, False, False, True]


PAIR = '[[pair]]\npath = "a"\nnative = "b"\nconfidence = 1.0\n'


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("pair = 3", "is no mapping"),
        ("= 3", "is no mapping"),
        (PAIR + "sure = true\n", "sure"),
        (PAIR + PAIR, "has two pairs"),
        (PAIR + PAIR + "call = 1\n", "has two pairs"),
        (PAIR.replace("1.0", "1.5"), "confidence 1.5; it is 0 to 1"),
        ("threshold = 3.0\n" + PAIR, "threshold is 3.0"),
        (PAIR + '[not_compared]\nc = "I do not like it"\n', "no reason for not comparing"),
    ],
)
def test_a_file_that_cannot_be_meant_is_an_error(tmp_path, text, words):
    file = tmp_path / "mapping.toml"
    file.write_text(text)
    with pytest.raises(AlignmentError, match=words):
        read(file)


def test_a_missing_file_says_what_writes_one(tmp_path):
    with pytest.raises(AlignmentError, match="parity map REFERENCE CANDIDATE --out"):
        read(tmp_path / "none.toml")


def test_scipy_is_imported_where_a_mapping_is_proposed_and_not_where_one_is_applied():
    show = "import sys, parity.mapping{}; print(sorted(name for name in sys.modules if name == 'scipy.optimize'))"
    for module, loaded in (("", "[]"), (".propose", "['scipy.optimize']")):
        done = subprocess.run([sys.executable, "-c", show.format(module)], capture_output=True, text=True, check=True)
        assert done.stdout.strip() == loaded
