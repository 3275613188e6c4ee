/** What a column of a result is, in our words. */
import {
  DuckDBArrayType,
  DuckDBDecimalType,
  DuckDBListType,
  DuckDBMapType,
  DuckDBStructType,
  DuckDBTypeId,
  type DuckDBType,
} from '@duckdb/node-api'
import type { ColumnType } from '../config/plan.ts'

/** The type whose texts values of a DuckDB type have; integers of any width are `long`, and what has no counterpart is text. */
export function columnTypeOf(type: DuckDBType): ColumnType {
  if (type instanceof DuckDBDecimalType) return { kind: 'decimal', precision: type.width, scale: type.scale }
  if (type instanceof DuckDBListType || type instanceof DuckDBArrayType) {
    return { kind: 'list', element: columnTypeOf(type.valueType) }
  }
  if (type instanceof DuckDBMapType) return { kind: 'map', value: columnTypeOf(type.valueType) }
  if (type instanceof DuckDBStructType) {
    const fields = type.entryNames.map((name, index) => ({ name, type: columnTypeOf(type.entryTypes[index]!) }))
    return { kind: 'struct', fields }
  }
  if (type.alias === 'JSON') return { kind: 'json' }
  return leaves[type.typeId] ?? { kind: 'string' }
}

const leaves: Partial<Record<DuckDBTypeId, ColumnType>> = {
  [DuckDBTypeId.BOOLEAN]: { kind: 'boolean' },
  [DuckDBTypeId.TINYINT]: { kind: 'long' },
  [DuckDBTypeId.SMALLINT]: { kind: 'long' },
  [DuckDBTypeId.INTEGER]: { kind: 'long' },
  [DuckDBTypeId.BIGINT]: { kind: 'long' },
  [DuckDBTypeId.HUGEINT]: { kind: 'long' },
  [DuckDBTypeId.UTINYINT]: { kind: 'long' },
  [DuckDBTypeId.USMALLINT]: { kind: 'long' },
  [DuckDBTypeId.UINTEGER]: { kind: 'long' },
  [DuckDBTypeId.UBIGINT]: { kind: 'long' },
  [DuckDBTypeId.UHUGEINT]: { kind: 'long' },
  [DuckDBTypeId.FLOAT]: { kind: 'float' },
  [DuckDBTypeId.DOUBLE]: { kind: 'double' },
  [DuckDBTypeId.TIMESTAMP_TZ]: { kind: 'timestamptz' },
  [DuckDBTypeId.TIMESTAMP]: { kind: 'timestamp' },
  [DuckDBTypeId.TIMESTAMP_MS]: { kind: 'timestamp' },
  [DuckDBTypeId.TIMESTAMP_S]: { kind: 'timestamp' },
  [DuckDBTypeId.TIMESTAMP_NS]: { kind: 'timestamp' },
  [DuckDBTypeId.DATE]: { kind: 'date' },
  [DuckDBTypeId.TIME]: { kind: 'time' },
  [DuckDBTypeId.UUID]: { kind: 'uuid' },
  [DuckDBTypeId.BLOB]: { kind: 'binary' },
}
