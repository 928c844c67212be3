"""How often a JSON Schema may look at one place of a document: so that no schema can be made to take for ever.

With `anyOf` and `$ref` twenty short definitions make a million evaluations, and a schema that refers to itself
twice makes 2^n for a document of depth n. The cost counted here is the most evaluations on the way from the
root of a document to any one leaf; a document of m values takes at most m times as many.
"""

from typing import Any
from urllib.parse import unquote

MAX_DEPTH = 32  # of a document: what is nested deeper is not validated
MAX_COST = 1000

_ONE_HERE = ("not", "if", "then", "else")
_LIST_HERE = ("allOf", "anyOf", "oneOf")
_MAP_HERE = ("dependentSchemas", "dependencies")
_ONE_BELOW = (
    *("additionalProperties", "unevaluatedProperties", "propertyNames"),
    *("items", "additionalItems", "unevaluatedItems", "contains"),
)
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")


class Uncountable(Exception):
    """The schema uses a reference whose target cannot be told from the document alone; the message says which."""


def cost(schema: Any) -> int:
    """The most evaluations on the way to one leaf of a document of MAX_DEPTH levels; at most MAX_COST + 1.

    Raises Uncountable for a `$ref` that is no pointer or anchor of the document, for an `$id` inside of it, and for
    references that go on and on.
    """
    try:
        return _Counter(schema).count(schema, MAX_DEPTH)
    except RecursionError:
        raise Uncountable("its references lead from one to the next too often") from None


class _Counter:
    def __init__(self, root: Any) -> None:
        self.root = root
        self.known: dict[tuple[int, int], int] = {}
        self.anchors: dict[str, list[Any]] = {}
        self._find_anchors(root)

    def _find_anchors(self, value: Any) -> None:
        if isinstance(value, dict):
            for keyword in ("$anchor", "$dynamicAnchor"):
                if isinstance(name := value.get(keyword), str):
                    self.anchors.setdefault(name, []).append(value)
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            self._find_anchors(inner)

    def count(self, schema: Any, depth: int) -> int:
        if not isinstance(schema, dict):
            return 1
        self._check_id(schema)
        place = (id(schema), depth)
        if place not in self.known:
            self.known[place] = 0  # a reference that comes back here without going down: it is looked at once
            self.known[place] = min(self._count(schema, depth), MAX_COST + 1)
        return self.known[place]

    def _check_id(self, value: Any) -> None:
        inner = value if isinstance(value, dict) and value is not self.root else {}
        if isinstance(inner.get("$id"), str) or isinstance(inner.get("id"), str):
            raise Uncountable("an $id inside of the schema is not supported")

    def _count(self, schema: dict[str, Any], depth: int) -> int:
        here = [schema[keyword] for keyword in _ONE_HERE if keyword in schema]
        here += [one for keyword in _LIST_HERE for one in _values(schema.get(keyword))]
        here += [one for keyword in _MAP_HERE for one in _values(schema.get(keyword)) if isinstance(one, dict)]
        here += [one for keyword in _REFERENCES if keyword in schema for one in self._targets(schema[keyword])]
        total = 1 + sum(self.count(one, depth) for one in here)
        if depth > 0:
            below = [schema[keyword] for keyword in _ONE_BELOW if isinstance(schema.get(keyword), dict)]
            below += _values(schema.get("patternProperties"))
            total += sum(self.count(one, depth - 1) for one in below)
            # Of these, one value of the document meets one at most. (`items` was a list in older drafts.)
            for keyword in ("properties", "prefixItems", "items"):
                alternatives = schema.get(keyword)
                if keyword == "properties" or isinstance(alternatives, list):
                    total += max((self.count(one, depth - 1) for one in _values(alternatives)), default=0)
        # What is unevaluated is found by looking at the others again.
        return total * (2 if schema.keys() & {"unevaluatedProperties", "unevaluatedItems"} else 1)

    def _targets(self, reference: Any) -> list[Any]:
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise Uncountable(f"a $ref must stay in the document: {str(reference)[:200]!r} does not")
        name = reference[1:]
        if not name:
            return [self.root]
        if not name.startswith("/"):
            if name not in self.anchors:
                raise Uncountable(f"there is no anchor {name[:200]!r}")
            return self.anchors[name]
        try:
            pointer = unquote(name, errors="strict")  # first of all, as the validator does: the steps end where it says
        except UnicodeDecodeError:
            raise Uncountable(f"{reference[:200]!r} is not UTF-8") from None
        target = self.root
        for step in pointer[1:].split("/"):
            self._check_id(target)  # references below one start there, and not at the root
            key = step.replace("~1", "/").replace("~0", "~")
            try:
                target = target[int(key)] if isinstance(target, list) else target[key]
            except (KeyError, IndexError, ValueError, TypeError):
                raise Uncountable(f"there is nothing at {reference[:200]!r}") from None
        return [target]


def _values(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def is_deeper(value: Any, levels: int) -> bool:
    """Whether a document is nested more than so deep; a plain value is one level. Without recursion."""
    layer = [value]
    for _ in range(levels):
        layer = [inner for one in layer for inner in _values(one)]
        if not layer:
            return False
    return True
