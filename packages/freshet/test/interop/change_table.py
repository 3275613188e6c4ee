"""Changes an Iceberg table with pyiceberg: appends rows, then deletes one (the file it is in is written anew).

Standard input: {"metadata": path, "warehouse": path, "append": [{column: value}], "delete": filter}
Standard output: {"metadata": path of the new metadata file}
"""

import json
import sys
from datetime import datetime

import pyarrow as pa
from pyiceberg.catalog.memory import InMemoryCatalog


def main():
    request = json.load(sys.stdin)
    catalog = InMemoryCatalog("interop", warehouse=request["warehouse"])
    catalog.create_namespace("lake")
    table = catalog.register_table(("lake", "trades"), request["metadata"])
    rows = [
        {**row, "_event_time": datetime.fromisoformat(row["_event_time"])}
        for row in request["append"]
    ]
    schema = table.schema().as_arrow()
    arrow = pa.Table.from_pylist(rows, schema=schema)
    table.append(arrow)
    table.delete(request["delete"])
    json.dump({"metadata": table.metadata_location}, sys.stdout)


main()
