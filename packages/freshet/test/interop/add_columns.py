"""Adds columns of types that Freshet does not write to an Iceberg table with pyiceberg, and a row that has values in them.

Standard input: {"metadata": path, "warehouse": path, "row": {column: value}}
Standard output: {"metadata": path of the new metadata file}
"""

import json
import sys
from datetime import datetime
from decimal import Decimal

import pyarrow as pa
from pyiceberg.catalog.memory import InMemoryCatalog
from pyiceberg.types import DecimalType, FixedType, IntegerType, MapType, NestedField, StringType, StructType


def main():
    request = json.load(sys.stdin)
    catalog = InMemoryCatalog("interop", warehouse=request["warehouse"])
    catalog.create_namespace("lake")
    table = catalog.register_table(("lake", "trades"), request["metadata"])
    with table.update_schema() as update:
        update.add_column("hash", FixedType(4))
        update.add_column(
            "place",
            StructType(NestedField(1, "city", StringType(), required=True), NestedField(2, "zip", IntegerType())),
        )
        update.add_column("levels", MapType(1, IntegerType(), 2, DecimalType(4, 2), value_required=False))
    row = {**request["row"], "_event_time": datetime.fromisoformat(request["row"]["_event_time"])}
    row["hash"] = b"\x00\x01\xfe\xff"
    row["place"] = {"city": "Oslo", "zip": 150}
    row["levels"] = [(1, Decimal("1.25")), (-7, None)]
    table.append(pa.Table.from_pylist([row], schema=table.schema().as_arrow()))
    json.dump({"metadata": table.metadata_location}, sys.stdout)


main()
