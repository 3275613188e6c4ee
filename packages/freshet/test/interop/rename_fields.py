"""Changes the names of fields of an Iceberg table with pyiceberg, gives a former name to a new field, and appends a row.

Standard input: {"metadata": path, "warehouse": path, "table": name, "renames": {path: new name}, "add": {path of a struct: name of a text field},
                 "row": {column: value}}
Standard output: {"metadata": path of the new metadata file}
"""

import json
import sys
from datetime import datetime

import pyarrow as pa
from pyiceberg.catalog.memory import InMemoryCatalog
from pyiceberg.types import StringType


def main():
    request = json.load(sys.stdin)
    catalog = InMemoryCatalog("interop", warehouse=request["warehouse"])
    catalog.create_namespace("lake")
    table = catalog.register_table(("lake", request["table"]), request["metadata"])
    with table.update_schema() as update:
        for path, name in request["renames"].items():
            update.rename_column(tuple(path.split(".")), name)
    with table.update_schema() as update:
        for path, name in request["add"].items():
            update.add_column((*path.split("."), name), StringType())
    row = {**request["row"], "_event_time": datetime.fromisoformat(request["row"]["_event_time"])}
    table.append(pa.Table.from_pylist([row], schema=table.schema().as_arrow()))
    json.dump({"metadata": table.metadata_location}, sys.stdout)


main()
