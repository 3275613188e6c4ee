"""Reads a table that has columns of every type with pyiceberg, and prints values by their Iceberg types.

Standard input: {"metadata": path, "columns": [str], "queries": {name: filter}}
Standard output: {"schema": {name: type}, "rows": [{...}], "queries": {name: {"files": n, "ids": [str]}}}
"""

import json
import math
import sys
from base64 import b64encode
from datetime import date, datetime, time, timezone
from decimal import Decimal
from uuid import UUID

from pyiceberg.table import StaticTable
from pyiceberg.types import ListType, LongType, MapType, StructType, UUIDType


def plain(value, field_type=None):
    """A value as JSON has it: decimals, long integers and NaN as text, binary as base64, maps as objects where their keys are text."""
    if isinstance(field_type, StructType) and value is not None:
        return {field.name: plain(value[field.name], field.field_type) for field in field_type.fields}
    if isinstance(field_type, ListType) and value is not None:
        return [plain(item, field_type.element_type) for item in value]
    if isinstance(field_type, MapType) and value is not None:
        return {key: plain(item, field_type.value_type) for key, item in value}
    if isinstance(field_type, LongType) and value is not None:
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, datetime):
        if value.tzinfo is None:
            return value.strftime("%Y").zfill(4) + value.strftime("-%m-%dT%H:%M:%S.%f")
        utc = value.astimezone(timezone.utc)
        return utc.strftime("%Y").zfill(4) + utc.strftime("-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, time):
        return value.strftime("%H:%M:%S.%f")
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(field_type, UUIDType) and isinstance(value, bytes):
        return str(UUID(bytes=value))
    if isinstance(value, bytes):
        return b64encode(value).decode()
    if isinstance(value, UUID):
        return str(value)
    return value


def main():
    request = json.load(sys.stdin)
    table = StaticTable.from_metadata(request["metadata"])
    fields = {field.name: field.field_type for field in table.schema().fields}
    rows = table.scan(selected_fields=tuple(request["columns"])).to_arrow().to_pylist()
    queries = {}
    for name, row_filter in request["queries"].items():
        scan = table.scan(row_filter=row_filter, selected_fields=("id",))
        ids = sorted(row["id"] for row in scan.to_arrow().to_pylist())
        queries[name] = {"files": len(list(scan.plan_files())), "ids": ids}
    answer = {
        "schema": {name: str(field_type) for name, field_type in fields.items()},
        "rows": [{name: plain(value, fields[name]) for name, value in row.items()} for row in rows],
        "queries": queries,
    }
    json.dump(answer, sys.stdout)


main()
