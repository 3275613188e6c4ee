/** Rows that are visible and not committed yet. */
import type { Column } from '../config/plan.ts'
import type { CopyStatistics } from '../lake/data-file.ts'
import type { IcebergSchema } from '../lake/schema.ts'

export interface HotTable {
  /** What stands in FROM. */
  relation: string
  columns: readonly Column[]
  rows: number
  /** Set when the rows are in a file, not in a table of the database. */
  ready?: ReadyFile
}

/** A Parquet file in scratch whose rows all belong to one partition. */
export interface ReadyFile {
  file: string
  rows: number
  statistics: CopyStatistics
  /** The schema it was written with. */
  schema: IcebergSchema
  partition: number
}
