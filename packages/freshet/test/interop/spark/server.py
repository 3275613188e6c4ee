"""Runs SQL in Spark with Iceberg's catalog `lake`, a lake folder as a Hadoop catalog has it, and `wh`, a folder of its own.

Arguments: the runtime's jar, the lake's folder, the folder of `wh`, Spark's scratch folder.
Standard input, a line at a time: {"sql": statement}. Standard output, a line for each: {"rows": [{...}]} or {"error": message}.
Values that JSON has no form for come as Python writes them; the statements cast what must be exact.
"""

import json
import os
import sys

# What Spark and the JVM print must not get between the answers.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

from pyspark.sql import SparkSession  # noqa: E402


def main():
    jar, lake, own, scratch = sys.argv[1:5]
    iceberg = "org.apache.iceberg.spark"
    options = {
        "spark.jars": jar,
        "spark.driver.memory": "2g",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.local.dir": scratch,
        "spark.ui.enabled": "false",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.warehouse.dir": f"{scratch}/warehouse",
        "spark.sql.extensions": f"{iceberg}.extensions.IcebergSparkSessionExtensions",
    }
    for name, folder in {"lake": lake, "wh": own}.items():
        options[f"spark.sql.catalog.{name}"] = f"{iceberg}.SparkCatalog"
        options[f"spark.sql.catalog.{name}.type"] = "hadoop"
        options[f"spark.sql.catalog.{name}.warehouse"] = folder
        options[f"spark.sql.catalog.{name}.cache-enabled"] = "false"
    builder = SparkSession.builder.master("local[2]")
    for key, value in options.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    for line in sys.stdin:
        try:
            rows = [row.asDict(recursive=True) for row in spark.sql(json.loads(line)["sql"]).collect()]
            answer = json.dumps({"rows": rows}, default=str)
        except Exception as error:  # the test sees it
            answer = json.dumps({"error": str(error)[:4000]})
        answers.write(answer + "\n")
        answers.flush()


main()
