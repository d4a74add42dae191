"""Canaries: made-up personal data in every format and encoding, planted in sentences; and a detector of its own.

Nothing here knows how the redactor works. The detector undoes encodings with the standard library, throws away all that
is not a digit (or not a letter or digit) and looks for what was planted.
"""

import base64
import binascii
import html
import quopri
import random
import re
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote, unquote

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
SYLLABLES = ("ka", "ro", "mi", "ten", "vol", "dra", "shi", "lun", "pex", "qua", "zor", "bix")

CARRIERS = (
    "{}",
    "{} is the one to use.",
    "You can use {}",
    "They said {}, then hung up.",
    "Interested; callback at 10:30 ({}); asks for prices.",
    "Contact: sure, it's {}. Agent: Thank you!",
    'On 2026-11-21 the manager gave us "{}" and paid $1,234.56 for it.',
    "Disposition: call_back_later; callback tomorrow; reach via {}.",
    "line one\n{}\nline three",
    "<p>{}</p>",
    "Señora Núñez dijo: {} ¿vale?",
    "[{}]",
)


@dataclass(frozen=True)
class Canary:
    kind: str
    shape: str
    secret: str
    """Digits, or the letters and digits of the mailbox's name."""
    planted: str
    carrier: str

    @property
    def text(self) -> str:
        return self.carrier.format(self.planted)


def canaries(first: int, count: int) -> Iterator[Canary]:
    """Canaries by number, always the same ones: every format in every encoding in turn, plain text most often."""
    encodings = [*ENCODINGS, *["plain"] * 4]
    turns = [(kind, form, name) for name in encodings for kind, (_, forms) in KINDS.items() for form in forms]
    for number in range(first, first + count):
        dice = random.Random(number)
        kind, form, encoding = turns[number % len(turns)]
        secret = KINDS[kind][0](dice)
        planted = ENCODINGS[encoding](form(secret))
        yield Canary(kind, f"{form.__name__}, {encoding}", _essence(secret), planted, dice.choice(CARRIERS))


def survives(canary: Canary, redacted: str) -> bool:
    """Whether a telling part of a canary can still be read out of a redacted text: five digits, or half a name."""
    digits = canary.secret.isdigit()
    kept = {_essence(reading, digits=digits) for reading in _readings(redacted.replace("[REDACTED]", "\0"))}
    own = _essence(canary.carrier, digits=digits)
    length = 5 if digits else 6
    parts = {canary.secret[at : at + length] for at in range(len(canary.secret) - length + 1)}
    return any(part in reading for part in parts if part not in own for reading in kept)


def _essence(text: str, *, digits: bool = False) -> str:
    return "".join(one for one in text.lower() if (one.isdecimal() if digits else one.isalnum()))


def _readings(text: str) -> set[str]:
    readings = {text}
    for _ in range(3):
        for reading in tuple(readings):
            readings |= {decode(reading) for decode in DECODERS}
            readings |= set(_tokens(reading))
    return readings | {re.sub("|".join(WORDS), lambda word: str(WORDS.index(word[0])), one.lower()) for one in readings}


def _tokens(text: str) -> Iterator[str]:
    for token in re.findall(r"[A-Za-z0-9+/_-]{8,}={0,2}", text):
        padded = token.rstrip("=").replace("-", "+").replace("_", "/")
        for encoding in ("utf-8", "utf-16-le"):
            with suppress(binascii.Error, UnicodeDecodeError):
                yield base64.b64decode(padded + "=" * (-len(padded) % 4)).decode(encoding)
        with suppress(ValueError):
            yield bytes.fromhex(token).decode()


def _unescape_json(text: str) -> str:
    return re.sub(r"\\u([0-9a-f]{4})", lambda found: chr(int(found[1], 16)), text)


def _unquote_printable(text: str) -> str:
    return quopri.decodestring(text.encode()).decode("utf-8", "replace")


def _normalise(text: str) -> str:
    visible = "".join(one for one in text if unicodedata.category(one) != "Cf")
    return "".join(
        str(unicodedata.digit(one)) if unicodedata.digit(one, None) is not None else one
        for one in unicodedata.normalize("NFKC", visible)
    )


DECODERS: tuple[Callable[[str], str], ...] = (unquote, html.unescape, _unescape_json, _unquote_printable, _normalise)


# Numbers and names


def _phone(dice: random.Random) -> str:
    return f"{dice.choice((201, 212, 305, 312, 415, 503, 530, 617, 702, 808, 916, 949))}55501{dice.randrange(100):02}"


def _card(dice: random.Random) -> str:
    body = dice.choice(("4", "51", "55", "6011", "2223")).ljust(6, "0") + "".join(dice.choices("0123456789", k=9))
    odd = sum(int(digit) for digit in body[-2::-2])
    even = sum(sum(divmod(2 * int(digit), 10)) for digit in body[-1::-2])
    return body + str(-(odd + even) % 10)


def _social(dice: random.Random) -> str:
    # No number with 9 in front was ever issued as a social security number, and none with 666.
    return f"{dice.choice(('666', '987', '900', '999'))}{dice.randrange(1, 100):02}{dice.randrange(1, 10000):04}"


def _mailbox(dice: random.Random) -> str:
    return ".".join("".join(dice.choices(SYLLABLES, k=3)) for _ in range(dice.choice((1, 2))))


# Formats


def e164(digits: str) -> str:
    return "+1" + digits


def parenthesised(digits: str) -> str:
    return f"({digits[:3]}) {digits[3:6]}-{digits[6:]}"


def country_and_parentheses(digits: str) -> str:
    return "+1 " + parenthesised(digits)


def hyphenated(digits: str) -> str:
    return f"{digits[:3]}-{digits[3:6]}-{digits[6:]}"


def one_and_hyphens(digits: str) -> str:
    return "1-" + hyphenated(digits)


def dotted(digits: str) -> str:
    return hyphenated(digits).replace("-", ".")


def blanks(digits: str) -> str:
    return hyphenated(digits).replace("-", " ")


def slashed(digits: str) -> str:
    return hyphenated(digits).replace("-", "/")


def en_dashes(digits: str) -> str:
    return hyphenated(digits).replace("-", "–")


def hard_hyphens(digits: str) -> str:
    return hyphenated(digits).replace("-", "\u2011")


def joined_by_zero_width(digits: str) -> str:
    return "\u200d".join(digits)


def bare(digits: str) -> str:
    return digits


def singly(digits: str) -> str:
    return " ".join(digits)


def said(digits: str) -> str:
    return " ".join(WORDS[int(digit)] for digit in digits)


def said_in_groups(digits: str) -> str:
    return ", ".join(said(group) for group in (digits[:3], digits[3:6], digits[6:]))


def split_by_words(digits: str) -> str:
    return f"{digits[:3]}, that's {digits[3:6]}, then {digits[6:]}"


def with_extension(digits: str) -> str:
    return hyphenated(digits) + " ext. 12"


def in_arabic_digits(digits: str) -> str:
    return hyphenated(digits).translate(ARABIC)


def in_full_width(digits: str) -> str:
    return hyphenated(digits).translate(FULL_WIDTH)


def card_blanks(digits: str) -> str:
    return " ".join(re.findall("....", digits))


def card_hyphens(digits: str) -> str:
    return "-".join(re.findall("....", digits))


def card_hard_blanks(digits: str) -> str:
    return "\u00a0".join(re.findall("....", digits))


def card_full_width(digits: str) -> str:
    return card_blanks(digits).translate(FULL_WIDTH)


def card_said_in_groups(digits: str) -> str:
    return ", ".join(map(said, re.findall("....", digits)))


def social_hyphens(digits: str) -> str:
    return f"{digits[:3]}-{digits[3:5]}-{digits[5:]}"


def social_blanks(digits: str) -> str:
    return social_hyphens(digits).replace("-", " ")


def social_dots(digits: str) -> str:
    return social_hyphens(digits).replace("-", ".")


def social_named(digits: str) -> str:
    return "SSN " + digits


def social_en_dashes(digits: str) -> str:
    return social_hyphens(digits).replace("-", "–")


def social_arabic(digits: str) -> str:
    return social_hyphens(digits).translate(ARABIC)


def address(name: str) -> str:
    return f"{name}@example.com"


def long_address(name: str) -> str:
    return f"{name}+calls@mail.example.co.uk"


def capitals(name: str) -> str:
    return address(name).upper()


def in_angles(name: str) -> str:
    return f"<{address(name)}>"


def at_in_parentheses(name: str) -> str:
    return f"{name} (at) example.com"


def at_and_dot_in_brackets(name: str) -> str:
    return f"{name}[at]example[dot]com"


def address_said(name: str) -> str:
    return address(name).replace("@", " at ").replace(".", " dot ")


def address_full_width(name: str) -> str:
    return address(name).translate(FULL_WIDTH)


def full_width_at(name: str) -> str:
    return address(name).replace("@", "＠")


def address_zero_width(name: str) -> str:
    return "\u200b".join(address(name))


def linked(name: str) -> str:
    return f"mailto:{address(name)}?subject=call"


# Encodings


def _percent_all(text: str) -> str:
    return "".join(f"%{octet:02X}" for octet in text.encode())


def _quoted_printable(text: str) -> str:
    return "".join(f"={octet:02X}" if octet > 126 or octet in b"@=+(-" else chr(octet) for octet in text.encode())


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": lambda text: text,
    "percent": quote,
    "percent throughout": _percent_all,
    "percent twice": lambda text: quote(quote(text)),
    "HTML decimal": lambda text: "".join(f"&#{ord(one)};" for one in text),
    "HTML hexadecimal": lambda text: "".join(f"&#x{ord(one):x};" for one in text),
    "JSON": lambda text: "".join(f"\\u{ord(one):04x}" if not one.isalnum() else one for one in text),
    "quoted-printable": _quoted_printable,
    "base64": _base64,
    "base64 without padding": lambda text: _base64(text).rstrip("="),
    "base64 for URLs": lambda text: base64.urlsafe_b64encode(text.encode()).decode(),
    "base64 of JSON": lambda text: _base64(f'{{"contact": "{text}", "tries": 3}}'),
    "base64 twice": lambda text: _base64(_base64(text)),
    "base64 of UTF-16": lambda text: base64.b64encode(text.encode("utf-16-le")).decode(),
    "hexadecimal": lambda text: text.encode().hex(),
    "base64 of percent": lambda text: _base64(quote(text, safe="")),
}

_PHONES = (
    e164, parenthesised, country_and_parentheses, hyphenated, one_and_hyphens, dotted, blanks, slashed, en_dashes,
    hard_hyphens, joined_by_zero_width, bare, singly, said, said_in_groups, split_by_words, with_extension,
    in_arabic_digits, in_full_width,
)  # fmt: skip
_CARDS = (card_blanks, card_hyphens, card_hard_blanks, card_full_width, card_said_in_groups, bare, singly, said)
_SOCIALS = (social_hyphens, social_blanks, social_dots, social_named, social_en_dashes, social_arabic, singly, said)
_ADDRESSES = (
    address, long_address, capitals, in_angles, at_in_parentheses, at_and_dot_in_brackets, address_said,
    address_full_width, full_width_at, address_zero_width, linked,
)  # fmt: skip
KINDS = {
    "phone": (_phone, _PHONES),
    "email": (_mailbox, _ADDRESSES),
    "card": (_card, _CARDS),
    "ssn": (_social, _SOCIALS),
}
