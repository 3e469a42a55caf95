"""A small part of TeX -> MathML, which browsers draw by themselves: \\frac, \\sqrt, \\bar, \\text, sub- and superscripts,
Greek letters, names of functions and operators."""

import re
from html import escape

_TOKEN = re.compile(r"\\text\{[^}]*\}|\\[A-Za-z]+|\\[|,]|\d+(?:\.\d+)?|\S")
_NAMED = {
    **{name: f"<mi>{name}</mi>" for name in ("min", "max", "cos")},
    **{
        "eta": "<mi>η</mi>",
        "sigma": "<mi>σ</mi>",
        "pi": "<mi>π</mi>",
        "|": "<mo>‖</mo>",
        ",": '<mspace width="0.3em"></mspace>',
    },
    **{"le": "<mo>≤</mo>", "cdot": "<mo>·</mo>", "pm": "<mo>±</mo>", "dots": "<mo>…</mo>"},
    **{"lfloor": "<mo>⌊</mo>", "rfloor": "<mo>⌋</mo>"},
}
_TAGS = {"_": "msub", "^": "msup", "_^": "msubsup", "^_": "msubsup"}


def math(tex: str) -> str:
    """The formula as a MathML element with the TeX as its alternative text. Raises ValueError for what is not known."""
    reader = _Reader(_TOKEN.findall(tex))
    inner = reader.row("")
    return f'<math displaystyle="true" alttext="{escape(tex)}">{inner}</math>'


class _Reader:
    """Reads tokens from the left."""

    def __init__(self, tokens: list[str]):
        self.tokens = [*tokens, ""]  # the last one is the end
        self.place = 0

    def next(self) -> str:
        self.place += 1
        return self.tokens[self.place - 1]

    def row(self, end: str) -> str:
        """The elements up to the token `end`, as one."""
        out = []
        while (token := self.next()) != end:
            if not token:
                raise ValueError(f"'{end}' is missing")
            out.append(self.scripted(self.element(token)))
        return f"<mrow>{''.join(out)}</mrow>"

    def scripted(self, base: str) -> str:
        """The element with the scripts that follow it: a subscript, a superscript, or both."""
        found: dict[str, str] = {}
        while (kind := self.tokens[self.place]) in ("_", "^") and kind not in found:
            self.next()
            found[kind] = self.argument()
        if not found:
            return base
        tag = _TAGS["".join(found)]
        return f"<{tag}>{base}{''.join(found[kind] for kind in '_^' if kind in found)}</{tag}>"

    def argument(self) -> str:
        """The next group or single token."""
        token = self.next()
        return self.row("}") if token == "{" else self.element(token)

    def letter(self) -> str:
        """The one letter of the next group."""
        brace, letter, end = self.next(), self.next(), self.next()
        if brace + end != "{}" or not letter.isalpha():
            raise ValueError("what is under a bar is not known here")
        return letter

    def element(self, token: str) -> str:
        """What the token stands for, with the arguments that it takes."""
        name = token[1:] if token.startswith("\\") else ""
        if name.startswith("text{"):
            return f"<mtext>{escape(name[5:-1])}</mtext>"
        if name == "frac":
            return f"<mfrac>{self.argument()}{self.argument()}</mfrac>"
        if name == "sqrt":
            return f"<msqrt>{self.argument()}</msqrt>"
        if name == "bar":
            return f"<mi>{self.letter()}\u0304</mi>"  # a combining macron shows where a stretched one is too thin
        if name in _NAMED:
            return _NAMED[name]
        if token == "{":
            return self.row("}")
        if not token or name or token in "}\\_^":
            raise ValueError(f"'{token}' is not known here")
        kind = "mn" if token[0].isdigit() else "mi" if token.isalpha() else "mo"
        return f"<{kind}>{'−' if token == '-' else escape(token)}</{kind}>"
