"""Keys: who has one is known, and nobody learns how near a guess was."""

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slosched_server.caller import Caller
from slosched_server.keys import PREFIX, Keyring, digest_of, new_key
from tests.server.front_end import TAGGER

KEYS = [new_key() for _ in range(50)]
CALLERS = {digest_of(key.encode()): Caller(TAGGER, tenant=key) for key in KEYS}
KEYRING = Keyring(CALLERS)


def test_keys_are_long_and_told_from_other_secrets() -> None:
    assert len({*KEYS}) == len(KEYS)
    assert {len(key) for key in KEYS} == {len(PREFIX) + 43}
    assert all(key.startswith(PREFIX) for key in KEYS)


@given(st.sampled_from(KEYS))
def test_each_key_is_its_owners(key: str) -> None:
    caller = KEYRING.find(key.encode())
    assert caller is not None
    assert caller.tenant == key


@given(st.sampled_from(KEYS), st.integers(0, 51), st.characters(codec="ascii"))
def test_a_key_with_one_wrong_character_is_nobodys(key: str, at: int, other: str) -> None:
    guess = key[:at] + other + key[at + 1 :]
    assert guess == key or KEYRING.find(guess.encode()) is None


@given(st.binary(max_size=300))
def test_anything_else_is_nobodys(guess: bytes) -> None:
    assert KEYRING.find(guess) is None


def test_the_whole_digest_counts() -> None:
    near = bytearray(digest_of(KEYS[0].encode()))
    near[-1] ^= 1
    assert Keyring({bytes(near): Caller(TAGGER)}).find(KEYS[0].encode()) is None


@pytest.mark.parametrize("guess", [KEYS[0], KEYS[0][:-1], "", "x" * 256])
def test_right_or_wrong_one_comparison_in_constant_time(
    guess: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def seen(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", seen)
    KEYRING.find(guess.encode())
    assert compared == [(32, 32)]
