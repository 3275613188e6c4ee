"""Reads an Iceberg table with pyiceberg and prints what it found as JSON.

Standard input: {"metadata": path, "queries": {name: {"filter": str | null, "columns": [str] | null, "snapshot": str | null}}}
Standard output: {"schema": [[id, name, type, required]], "snapshots": n, "properties": {...},
                  "refs": {name: [type, snapshot id]}, "manifests": [[added, existing, deleted files]] of the current snapshot,
                  "queries": {name: {"files": n, "rows": [{...}]}}}
"""

import json
import sys
from datetime import date, datetime, timezone

from pyiceberg.expressions import AlwaysTrue
from pyiceberg.table import StaticTable


def plain(value):
    if isinstance(value, datetime):
        return value.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, date):
        return value.isoformat()
    raise TypeError(f"unexpected {type(value)}")


def main():
    request = json.load(sys.stdin)
    table = StaticTable.from_metadata(request["metadata"])
    answers = {}
    for name, query in request["queries"].items():
        scan = table.scan(
            row_filter=query["filter"] or AlwaysTrue(),
            selected_fields=tuple(query["columns"] or ("*",)),
            snapshot_id=int(query["snapshot"]) if query["snapshot"] else None,
        )
        rows = scan.to_arrow().to_pylist()
        answers[name] = {"files": len(list(scan.plan_files())), "rows": rows}
    schema = [[field.field_id, field.name, str(field.field_type), field.required] for field in table.schema().fields]
    json.dump(
        {
            "schema": schema,
            "snapshots": len(table.metadata.snapshots),
            "properties": table.properties,
            "refs": {
                name: [str(ref.snapshot_ref_type.value), str(ref.snapshot_id)]
                for name, ref in table.metadata.refs.items()
            },
            "manifests": [
                [manifest.added_files_count, manifest.existing_files_count, manifest.deleted_files_count]
                for manifest in (table.current_snapshot().manifests(table.io) if table.current_snapshot() else [])
            ],
            "queries": answers,
        },
        sys.stdout,
        default=plain,
    )


main()
