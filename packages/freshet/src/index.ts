/** The public API: what `freshet.config.ts` imports. */
export { defineConfig, stream } from './config/define.ts'
export type {
  Config,
  IdField,
  JsonSchema,
  Partition,
  PartitionUnit,
  StreamConfig,
  StreamOptions,
  TimeField,
  TimeUnit,
} from './config/define.ts'
export type { ColumnTypeWord } from './config/column-types.ts'
export type { Duration, DurationUnit, Size, SizeUnit } from './config/quantities.ts'
