"""Captions split into words as the usual caption tool does it: Penn Treebank rules, lower case, punctuation dropped.

That tool (pycocoevalcap) asks the Java class PTBTokenizer of Stanford CoreNLP 3.4.1. The rules below were found by
asking that class and are written anew; `tests/data/caption_words.json` holds what it answered. Two of its habits look
like faults and are kept, because published scores contain them: brackets survive as the words `-lrb-`, `-rrb-`,
`-lsb-`, `-rsb-`, `-lcb-`, `-rcb-` (the list of dropped punctuation names them in capitals), and so do runs (`!!`).

Not followed: smileys; a whole number before a fraction (`1 1/2`) and a tag with spaces, which that class joins by a
no-break space; and its look at the next line of the file, by which the stop of a last word can hang on another caption.
"""

from __future__ import annotations

import re
from functools import lru_cache
from sys import intern

_CACHED = 1 << 17  # captions whose words are remembered: the references of a set serve every metric and every model

_WRITTEN = {
    **{"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"},
    **{"\xbd": "1/2", "\xbc": "1/4", "\xbe": "3/4", "\u20ac": "$", "\xa3": "#", "\xa2": "cents"},
    **{"\u2153": "1/3", "\u2154": "2/3", "\xa4": "$"},
    **{"&amp;": "&", "&lt;": "<", "&gt;": ">"},
}
_PLAIN = str.maketrans(
    {
        **dict.fromkeys("\u2019\u203a", "'"),
        **dict.fromkeys("\u2018\u2039\u201b", "`"),
        **dict.fromkeys("\u2013\u2014\u2015\u2026", " -- "),
        **dict.fromkeys("\xad\ufeff", None),
    }
)
# With their full stop they are one word wherever they stand.
_ABBREVIATIONS = """
    blvd rd sq etc al est jan feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thurs fri inc ltd co
    corp bros jr sr ph\\.d calif fla ariz mich ind wis minn va md ga ala tenn ky mo okla kan neb colo nev mont wyo conn
    vt bldg assn univ intl tel ext esq plc pty cos mr mrs ms dr prof st ave ft vs cf p dept gov gen sen rep col sgt capt
    lt cmdr adm maj hon rev mt assoc natl messrs mme mlle pvt mfg
"""
_BEFORE_NUMBERS = "no nos ca fig figs pp art op"  # one word before a number, two elsewhere

_L = r"[^\W_\xb2\xb3\xb9\xbc-\xbe\u2070-\u209f\u2150-\u215f]"  # a letter or digit; no superscript, no fraction
_A = r"[^\W\d_\xb2\xb3\xb9\xbc-\xbe\u2070-\u209f\u2150-\u215f]"  # a letter
_WORD = rf"{_L}(?:{_L}|[\u0300-\u036f]|_+(?={_L}))*"
_NUMBER = r"(?>\d*(?:[.,:]\d+)+)"
_LETTERS = rf"(?:{_A}\.)+{_A}(?!{_L})\.?"  # u.s., e.g.
_JOINT = r"[-\u2010\u2011/]"
_PART = rf"(?:{_NUMBER}|{_LETTERS}|{_WORD})"
_SYMBOLS = (
    r"[$%&/^|~\\=+()\[\]{}]|[\xa1-\xaa\xac-\xba\xbc-\xff\u2016\u2017\u201a\u201e\u2020-\u2023\u2030-\u2038\u2044\u20a4\u20ac]"
    r"|[\u2070-\u2089\u2100-\u2144\u2150-\u215f\u2190-\u23ff\u2460-\u2767\u2776-\u2bff\u3001\u3002\uff01-\uff65]"
)

_TOKEN = re.compile(
    rf"""
    (?!cannot|gonna|wanna|gotta|lemme|gimme)[a-z]++(?!\S)                    # most words, said first to be fast
    | </?[a-z][^<>]*>                                                        # a tag
    | https?://[^\s<>()"]*[^\s<>()".,;:?!'\u201d]                            # an address
    | (?:www\.)?(?:{_L}[\w-]*\.)+(?:com|org|net|edu|gov)(?!{_L})
    | {_L}[\w.]*@{_L}[\w.-]*(?<={_L})
    | [\#@]{_A}\w*
    | &(?:amp|lt|gt);
    | (?-i:[A-Z]+&[A-Z]+)(?!{_L})
    | can(?=not(?!-?\w)) | (?:gon|wan)(?=na(?!-?\w)) | got(?=ta(?!-?\w)) | (?:lem|gim)(?=me(?!-?\w))
    | '\d0s(?!\w) | '(?:em|til|cause|n')(?!{_L}) | 't(?=(?:is|was)(?!\w))
    | '(?:s|m|d|re|ve|ll)(?!{_L})
    | n't(?!{_L}) | {_A}+?(?=n't(?!{_L}))
    | [dlo]'{_A}\w+ | o'clock | ma'am | n?e'er | y'(?={_A})
    | {_PART}(?:{_JOINT}{_PART})+
    | {_LETTERS}
    | (?:{_A}|{"|".join(_ABBREVIATIONS.split())})\.(?!{_L})
    | (?:{"|".join(_BEFORE_NUMBERS.split())})\.(?=\s*\d)
    | {_A}+(?:[.?!]{_A}+)+(?!{_L})
    | [-+]?(?:{_NUMBER}|\d+(?!{_L}))
    | {_WORD}\.(?=[,;:])
    | {_WORD}
    | [?!]{{2,}} | \*+ | \#+ | _+ | @+ | <+ | >+
    | {_SYMBOLS}
    """,
    re.VERBOSE | re.IGNORECASE,
)


@lru_cache(maxsize=_CACHED)
def tokenize(caption: str) -> tuple[str, ...]:
    """Return the words of a caption, in lower case and without punctuation.

    `isn't` gives `is`, `n't`; `ship's` gives `ship`, `'s`; words with a hyphen and numbers such as 1,234.5 stay whole;
    signs such as % are words of their own.
    """
    found = (word.lower() for word in _TOKEN.findall(caption.translate(_PLAIN)))
    return tuple(intern(_WRITTEN.get(word, word)) for word in found)
