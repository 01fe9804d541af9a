"""What a seal finds, and what it is not meant to find."""

import json

import pytest
import xxhash

from parity import seals

CONTENT = {"verdict": "MATCH", "seals": {"seal": "1" * 32}, "text": 'a "seal": "' + "0" * 32 + '"'}


def sealed(indent=None):
    data = json.dumps(CONTENT | {"seal": seals.BLANK.decode()}, indent=indent).encode() + b"\n"
    return seals.seal(data, "seal")


@pytest.mark.parametrize("indent", [None, 1, 4])
def test_the_seal_is_the_digest_of_the_file_with_zeros_in_its_place(indent):
    data = sealed(indent)
    written = json.loads(data)["seal"]
    blank = written.encode().join(data.split(written.encode())).replace(written.encode(), seals.BLANK)
    assert written == xxhash.xxh3_128_hexdigest(blank) == seals.digest_of(data, "seal")


def test_every_changed_byte_and_every_lost_one_is_found():
    data = sealed()
    written = json.loads(data)["seal"]
    for place in range(len(data)):
        changed = data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]
        assert seals.digest_of(changed, "seal") != written or json.loads(changed)["seal"] != written
        assert seals.digest_of(data[:place] + data[place + 1 :], "seal") != written


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b'{"seal": ""}', b'{"seal": "' + seals.BLANK + b'", "more": 1}', b'{"other": "' + seals.BLANK + b'"}'],
)
def test_what_does_not_end_in_a_seal_has_none(data):
    assert seals.digest_of(data, "seal") == ""
    with pytest.raises(ValueError, match="the last key of the object is not 'seal'"):
        seals.seal(data, "seal")
