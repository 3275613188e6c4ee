/** The public API: what `freshet.config.ts` imports. */
export { sink } from './sinks/define.ts'
export { bucket, defineConfig, env, rollup, stream } from './config/define.ts'
export { objectEvents } from './config/object-events.ts'
export type {
  BucketConfig,
  Config,
  EventOf,
  IdField,
  JsonSchema,
  Partition,
  PartitionUnit,
  RollupConfig,
  SecretConfig,
  SinkConfig,
  StreamConfig,
  StreamOptions,
  SystemFields,
  TimeField,
  TimeUnit,
  TransformContext,
} from './config/define.ts'
export type { ColumnTypeWord } from './config/column-types.ts'
export type { Duration, DurationUnit, Size, SizeUnit } from './config/quantities.ts'
