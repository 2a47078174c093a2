"""Makes texts.json and questions.json from the docstrings of the installed numpy and pandas.

    python tests/data/see_also/build.py

A text is what a function says of itself: summary and description, without signature, parameters,
examples and cross references. A question is the line by which the docstring of *another* function
points to it ("See Also"). Questions whose words stand in the text as they are, or that say the name of
what they look for, are left out: they would be found by any search.
"""

import inspect
import json
import re
import warnings
from pathlib import Path

FOLDER = Path(__file__).parent
MOST_CHARS = 400
LEAST_WORDS = 4
ROOMS = {
    "numpy": ("", "linalg", "fft", "random", "polynomial.polynomial"),
    "pandas": ("", "api.types", "tseries.offsets"),
}


def sections(docstring):
    """The lines of a docstring by the heading above them; "" for those above the first."""
    lines, name, found = inspect.cleandoc(docstring).split("\n"), "", {"": []}
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        if re.fullmatch(r"-{3,}", below.strip()) and 0 < len(line.strip()) < 40:
            name = line.strip()
            found[name] = []
        elif not re.fullmatch(r"-{3,}", line.strip()):
            found[name].append(line)
    return found


def callables(library, room):
    """What a module offers, and what its classes offer, by dotted name."""
    module = __import__(library)
    for step in filter(None, room.split(".")):
        module = getattr(module, step)
    for name in sorted(vars(module).keys() | set(dir(module))):
        if name.startswith("_"):
            continue
        value = getattr(module, name, None)
        yield name, value
        if inspect.isclass(value) and value.__module__.startswith(library):
            yield from (
                (f"{name}.{part}", getattr(value, part, None))
                for part in dir(value)
                if not part.startswith("_")
            )


def plain(text):
    """Prose without markup, in one line."""
    return re.sub(r"\s+", " ", re.sub(r"\.\. \w+:: ?\S*|:\w+:|`", "", text)).strip()


def letters(text):
    return re.sub(r"\W+", " ", text.lower()).strip()


def read():
    """Texts by "library.name", and all pointers as (library, who points, name, words)."""
    texts, pointers, seen = {}, [], set()
    for library, rooms in ROOMS.items():
        for room in rooms:
            for dotted, value in callables(library, room):
                docstring = getattr(value, "__doc__", None) or ""
                if (
                    not (callable(value) or isinstance(value, property))
                    or len(docstring) < 80
                    or docstring in seen
                ):
                    continue
                seen.add(docstring)
                parts, name = sections(docstring), dotted.rpartition(".")[2]
                lines = parts[""]
                lead = plain("\n".join(lines[1:] if re.match(r"^[\w.]+\(.*", lines[0]) else lines))[
                    :MOST_CHARS
                ]
                key = f"{library}.{name}"
                if len(lead) >= 30 and len(lead) > len(texts.get(key, "")):
                    texts[key] = lead
                see = "\n".join(parts.get("See Also", []))
                for found in re.finditer(r"^(\S[^\n:]*?)\s*:\s+([^\n]+(?:\n\s+[^\n]+)*)", see, re.MULTILINE):
                    pointers.append((library, name, found[1], plain(found[2])))
    return texts, pointers


def questions(texts, pointers):
    """The words of the pointers, with the texts that they point to."""
    found = {}
    for library, source, target, words in pointers:
        name = target.rpartition(".")[2].strip("()` ")
        key, said = f"{library}.{name}", letters(words)
        known = key in texts and "," not in target and not target.startswith(("scipy", "random."))
        telling = len(said.split()) >= LEAST_WORDS and not re.match(
            r"alias|similar|equivalent|the same|see ", said
        )
        easy = source == name or (known and said in letters(texts[key])) or name.lower() in said.split()
        if known and telling and not easy:
            found.setdefault(said, (words, set()))[1].add(key)
    return [{"question": words, "texts": sorted(keys)} for _, (words, keys) in sorted(found.items())]


def main():
    warnings.simplefilter("ignore")
    texts, pointers = read()
    asked = questions(texts, pointers)
    for name, made in (("texts", dict(sorted(texts.items()))), ("questions", asked)):
        (FOLDER / f"{name}.json").write_text(json.dumps(made, indent=0, ensure_ascii=False) + "\n", "utf-8")
    print(f"{len(texts)} texts, {len(asked)} questions")


if __name__ == "__main__":
    main()
