"""moto, with its slowest parts made quick: each does what moto's own does, only without doing it again and again.

Thousands of tests spend most of their time in these parts. tests/integration/test_quick_moto.py plays the same calls
with moto's own parts and with ours, and compares every answer. Without `load()` the tests say the same, and take
twice as long; a new version of moto that this no longer fits can be used at once.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from decimal import Decimal
from functools import cache
from types import SimpleNamespace
from typing import Any, Final
from urllib.parse import urlparse

from botocore import useragent
from botocore.awsrequest import AWSPreparedRequest
from moto import backend_index
from moto.core import responses, serialize
from moto.core.botocore_stubber import BotocoreStubber
from moto.core.responses import BaseResponse
from moto.core.utils import camelcase_to_underscores, method_names_from_class, utcnow
from moto.dynamodb.models import dynamo_type, table
from moto.dynamodb.models.dynamo_type import DDBType, DynamoType
from moto.dynamodb.parsing import ast_nodes as moto_ast_nodes
from moto.dynamodb.parsing import expressions as moto_expressions
from moto.dynamodb.parsing import validators
from moto.dynamodb.responses import DynamoHandler
from moto.sqs import models as sqs_models
from moto.sqs.responses import SQSResponse
from moto.utilities.utils import get_partition
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException
from werkzeug.http import http_date

SERVICES: Final = frozenset({"dynamodb", "secretsmanager", "sqs"})
"""Those that we use. moto knows hundreds, and asks each of them about every request."""

# They have no types.
ast_nodes: Any = moto_ast_nodes
expressions: Any = moto_expressions

# ---- requests --------------------------------------------------------------------------------------------------------

_own_process_request = BotocoreStubber.process_request


@cache
def _handler_of(url: str) -> type[BaseResponse] | None:
    """The class that serves a service whose requests are JSON with a target in their headers."""
    services = (name for name, pattern in backend_index.backend_url_patterns if pattern.match(url))
    return {"dynamodb": DynamoHandler, "sqs": SQSResponse}.get(next(services, ""))


def _process_request(self: BotocoreStubber, request: AWSPreparedRequest) -> Any:
    """As moto's own, without a request of werkzeug's in between; what nothing reads here is left out."""
    handles = _handler_of(request.url)
    if handles is None or "X-Amz-Target" not in request.headers:
        return _own_process_request(self, request)
    sent: Iterable[tuple[str, Any]] = request.headers.items()
    headers = Headers([(name, text.decode() if isinstance(text, bytes) else text) for name, text in sent])
    handler: Any = handles()
    handler.headers, handler.querystring, handler.uri_match = headers, {}, {}
    handler.uri, handler.path = request.url, urlparse(request.url).path
    handler.normalized_request = asked = SimpleNamespace(
        method=request.method,
        path=handler.path,
        headers=headers,
        content_type=headers.get("Content-Type", ""),
        data=request.body,
        values={},
    )
    handler.region = handler.get_region_from_url(asked, request.url)
    handler.partition = get_partition(handler.region)
    handler.response_headers = {"server": "amazon.com", "date": http_date(utcnow())}
    handler.access_key = handler.get_access_key()
    handler.current_account = handler.get_current_account()
    try:
        handler.parse_parameters(asked)
        return handler.call_action()
    except HTTPException as e:
        return e.code, e.get_headers(), e.get_body()


# ---- answers: which attributes of a result may hold a member ---------------------------------------------------------

_PICKERS: Final = frozenset({serialize.AttributePicker, serialize.XFormedAttributePicker})
_own_get_value = serialize.ResponseSerializer.get_value
_names: dict[tuple[Any, ...], tuple[str, ...]] = {}


def _get_value(self: serialize.ResponseSerializer, value: Any, key: str, shape: Any) -> Any:
    """As moto's own; the names that it tries are the same for all dictionaries."""
    picker = self._value_picker
    if type(value) is not dict or type(picker) not in _PICKERS or picker.response_transformers:
        return _own_get_value(self, value, key, shape)
    known = (type(picker), shape, key)
    names = _names.get(known)
    if names is None:
        assert picker.alias_providers is serialize.DEFAULT_ALIAS_PROVIDERS
        names = tuple(dict.fromkeys(picker.get_possible_keys(serialize.AttributePickerContext(value, key, shape))))
        assert not any("." in name for name in names)
        _names[known] = names
    for name in names:
        if name in value:
            return value[name]
    return None


# ---- update expressions ----------------------------------------------------------------------------------------------


@cache
def _is(kind: type, *classes: type) -> bool:
    """`issubclass`, which is slow for moto's abstract nodes."""
    return issubclass(kind, classes)


def _find_clauses(self: Any, clause_types: list[type]) -> list[Any]:
    clauses = []
    for child in self.children or []:
        if type(child) in clause_types:
            clauses.append(child)
        elif _is(child.__class__, ast_nodes.Expression, ast_nodes.UpdateExpressionFunction):
            clauses.extend(_find_clauses(child, clause_types))
    return clauses


@cache
def _processed_as(kind: type, *classes: type) -> type | None:
    """The first of `classes` that a node belongs to."""
    return next((known for known in classes if issubclass(kind, known)), None)


def _traverse(self: Any, root: Any) -> Any:
    """As moto's own, which asks for the map of processors at every node."""
    processors = self._processing_map()
    kinds = tuple(processors)
    about_to_visit = self.pre_processing_of_child
    told = type(self).pre_processing_of_child is not ast_nodes.DepthFirstTraverser.pre_processing_of_child

    def visit(node: Any, child_id: int) -> Any:
        parent = node.parent
        for i, child in enumerate(node.children or ()):
            if told:
                about_to_visit(node, i)
            if _is(child.__class__, ast_nodes.Node):
                visit(child, i)
        known = _processed_as(node.__class__, *kinds)
        if known is not None:
            node = processors[known](node)
            node.parent = parent
            if parent:
                parent.children[child_id] = node
        return node

    return visit(root, -1)


def _copied(value: Any) -> Any:
    """`deepcopy`; a tree of nodes is copied node by node."""
    if not _is(value.__class__, ast_nodes.Node):
        return copy.deepcopy(value)
    assert len(vars(value)) == 3, "a node is its type, its children, and its parent"
    made = object.__new__(type(value))
    made.type, made.parent, made.children = value.type, None, None
    if value.children is not None:
        made.children = [_copied(child) for child in value.children]
        for child in made.children:
            if _is(child.__class__, ast_nodes.Node):
                child.parent = made
    return made


# ---- items -----------------------------------------------------------------------------------------------------------

_own_cast_value: Any = DynamoType.cast_value
_PLAIN: Final = frozenset({DDBType.STRING, DDBType.BINARY, DDBType.BOOLEAN})


def _cast_value(self: DynamoType) -> Any:
    if self.type in _PLAIN:
        return self.value
    return Decimal(self.value) if self.type == DDBType.NUMBER else _own_cast_value.fget(self)


def _eq(self: DynamoType, other: DynamoType) -> bool:
    if self.type in _PLAIN and other.type in _PLAIN:
        return self.type == other.type and bool(self.value == other.value)
    return self.type == other.type and bool(self.cast_value == other.cast_value)


def _hash(self: DynamoType) -> int:
    return hash((self.type, self.value if self.type in _PLAIN else self.cast_value))


def _all_items(self: table.Table) -> list[dynamo_type.Item]:
    """As moto's own, whose keys are slow to compare."""
    if not self.range_key_attr:
        items: list[Any] = list(self.items.values())
        return sorted(items, key=lambda item: item.hash_key.cast_value)
    items = [item for held in self.items.values() for item in held.values()]
    return sorted(items, key=lambda item: (item.hash_key.cast_value, item.range_key.cast_value))


# ---- all of them -----------------------------------------------------------------------------------------------------

PARTS: Final[tuple[tuple[Any, str, Any], ...]] = (
    (
        backend_index,
        "backend_url_patterns",
        [known for known in backend_index.backend_url_patterns if known[0] in SERVICES],
    ),
    (BotocoreStubber, "process_request", _process_request),
    (
        useragent,
        "sanitize_user_agent_string_component",
        cache(useragent.sanitize_user_agent_string_component),
    ),
    (responses, "method_names_from_class", cache(method_names_from_class)),
    (responses, "camelcase_to_underscores", cache(camelcase_to_underscores)),
    (sqs_models, "camelcase_to_underscores", cache(camelcase_to_underscores)),
    (serialize.ResponseSerializer, "get_value", _get_value),
    # A tree is read and copied, never changed.
    (expressions.UpdateExpressionParser, "make", staticmethod(cache(expressions.UpdateExpressionParser.make))),
    (ast_nodes.Node, "find_clauses", _find_clauses),
    (validators, "deepcopy", _copied),
    (ast_nodes.DepthFirstTraverser, "traverse", _traverse),
    (DynamoType, "cast_value", property(_cast_value)),
    (DynamoType, "__eq__", _eq),
    (DynamoType, "__hash__", _hash),
    (table.Table, "all_items", _all_items),
)
"""What is replaced: where, its name, by what."""

OWN: Final = tuple((where, name, vars(where)[name]) for where, name, _ in PARTS)
"""What stands there without us."""


def load() -> None:
    """Make moto quick, for as long as the process lives."""
    for where, name, ours in PARTS:
        setattr(where, name, ours)
