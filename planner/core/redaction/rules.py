"""The shapes of phone, payment card and social security numbers."""

from __future__ import annotations

import re
from collections.abc import Sequence

import phonenumbers

from planner.core.redaction.chains import Run

_NANP = re.compile(r"1?[2-9][0-9]{2}[2-9][0-9]{6}")
_NUMBERING = re.compile(r"[.)]\s")
_SHORTEST_CARD, _LONGEST_CARD = 13, 19
_CARD_SHAPES = {(4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3)}
_YEAR = re.compile(r"(?:19|20)[0-9]{2}")


def is_personal(run: Run, regions: Sequence[str]) -> bool:
    """Tell whether groups of digits are, together, a number of a person."""
    return any(rule(run) for rule in _RULES) or _regional(run, regions)


def _is_card(run: Run) -> bool:
    if not _SHORTEST_CARD <= len(run.digits) <= _LONGEST_CARD or run.digits[0] not in "23456":
        return False
    if all(length == 4 and _YEAR.fullmatch(run.digits[4 * at : 4 * at + 4]) for at, length in enumerate(run.shape)):
        return False
    plain = len(run.shape) == 1 or run.shape in _CARD_SHAPES or set(run.shape[:-1]) == {4}
    if run.context == "card":
        return plain or not run.listed
    return (run.shape in _CARD_SHAPES and not run.listed) or (plain and _luhn(run.digits))


def _luhn(digits: str) -> bool:
    odd = sum(int(digit) for digit in digits[-1::-2])
    even = sum(int("0246813579"[int(digit)]) for digit in digits[-2::-2])
    return (odd + even) % 10 == 0


def _is_social_security(run: Run) -> bool:
    if len(run.digits) != 9:
        return False
    if run.context == "ssn":
        return True
    if run.shape == (3, 2, 4):
        return not run.listed
    return run.shape == (3, 3, 3) and set(run.between) == {"-"} and run.context != "other"


def _is_north_american(run: Run) -> bool:
    before = len(run.digits) - 10
    if before not in {0, 1} or (before and not _has_country_code(run)):
        return False
    if run.shape[-3:] == (3, 3, 4) and not run.listed:
        return True
    if not _NANP.fullmatch(run.digits):
        return False
    if len(run.shape) == 1 or run.shape == (1, 10):
        return True
    return run.context != "other" and (run.ends_group(before + 3) or (run.evenly and run.ends_group(before + 6)))


def _has_country_code(run: Run) -> bool:
    # "1. 530-555-0101" is the first of a list.
    return run.digits[0] == "1" and not (run.between and _NUMBERING.match(run.between[0]))


def _is_national(run: Run) -> bool:
    """Judge numbers with a trunk zero, the way most of the world writes its own: `020 7946 0018`."""
    if run.digits[0] != "0" or run.digits[1] == "0":
        return False
    if len(run.shape) == 1:
        return len(run.digits) in {10, 11} and run.context != "other"
    return 9 <= len(run.digits) <= 12 and not run.listed and run.context != "other"


def _is_dialled(run: Run) -> bool:
    """Judge international numbers with a dialling prefix: `00 44 …`, `011 44 …`."""
    prefix = 2 if run.digits.startswith("00") else 3
    return run.digits.startswith(("00", "011")) and len(run.digits) > 10 and is_international(run.digits[prefix:])


def _is_local(run: Run) -> bool:
    """Judge seven digits with a gap after three: `555-0101`."""
    # Status codes come in threes, `429/401/5xx`; nobody groups a phone number like that.
    if len(run.digits) != 7 or run.shape[0] != 3 or run.shape == (3, 3, 1) or run.digits[0] in "01":
        return False
    if run.quantity or run.context == "other":
        return False
    if run.context == "phone":
        return True
    return not run.listed and not (run.between[0].isspace() and _YEAR.fullmatch(run.digits[3:]))


_RULES = (_is_north_american, _is_social_security, _is_card, _is_national, _is_dialled, _is_local)


def _regional(run: Run, regions: Sequence[str]) -> bool:
    # North America has its own rule, which also takes numbers that are not handed out yet.
    return not run.listed and any(
        _is_of_region(run, region) for region in regions if phonenumbers.country_code_for_region(region) > 1
    )


def _is_of_region(run: Run, region: str) -> bool:
    try:
        number = phonenumbers.parse(run.digits, region)
    except phonenumbers.NumberParseException:
        return False
    # Written in groups, whatever the country's plan has room for will do; in one piece it has to be a number in use.
    if len(run.shape) > 1 and run.context != "other" and not run.quantity:
        return phonenumbers.is_possible_number_with_reason(number) == phonenumbers.ValidationResult.IS_POSSIBLE
    return phonenumbers.is_valid_number(number)


def is_international(digits: str) -> bool:
    """Tell whether digits after a plus sign are a number that the country's plan has room for."""
    if digits.startswith("1"):
        return _NANP.fullmatch(digits) is not None
    try:
        return phonenumbers.is_possible_number(phonenumbers.parse("+" + digits))
    except phonenumbers.NumberParseException:
        return False
