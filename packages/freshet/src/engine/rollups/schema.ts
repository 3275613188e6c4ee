/** The schema of a rollup's table when its columns are other ones: all of its rows are written anew, so nothing has to be read by it. */
import type { Column, RollupPlan } from '../../config/plan.ts'
import { currentSchema, withPartition, withSchema, type TableMetadata } from '../../lake/metadata.ts'
import { columnsOf, evolveSchema, type IcebergSchema } from '../../lake/schema.ts'
import { sameColumns } from '../columns.ts'

/** The table's metadata with these columns and this partitioning; the same object when it has them. */
export function withColumns(
  metadata: TableMetadata,
  columns: readonly Column[],
  partition: RollupPlan['partition'],
): TableMetadata {
  const schema = currentSchema(metadata)
  const evolved = sameColumns(columnsOf(schema), columns) ? metadata : withFields(metadata, schema, columns)
  return withPartition(evolved, { by: 'bucket', ...partition })
}

/** A column that was there with the same type keeps its field id; of another type, it is another field. */
function withFields(metadata: TableMetadata, schema: IcebergSchema, columns: readonly Column[]): TableMetadata {
  const kept = schema.fields.filter((_, index) => {
    const own = columnsOf(schema)[index]!
    return columns.some((column) => sameColumns([column], [own]))
  })
  const base = {
    schema: { ...schema, fields: kept },
    lastColumnId: metadata['last-column-id'],
    formerFields: new Map(),
  }
  const evolution = evolveSchema(base, columns) ?? base
  const { fields } = evolution.schema
  const ordered = columns.map(({ name }) => fields.find((field) => field.name === name)!)
  const schemaId = Math.max(...metadata.schemas.map((one) => one['schema-id'])) + 1
  return withSchema(metadata, {
    schema: { ...schema, 'schema-id': schemaId, fields: ordered },
    lastColumnId: evolution.lastColumnId,
    formerFields: new Map(),
  })
}
