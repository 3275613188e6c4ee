/** What the events of one stream pass on their way in, by whatever door: judged, then given their system columns. */
import { eventNaming, namedFields } from '../config/field-names.ts'
import type { StreamPlan } from '../config/plan.ts'
import { createDecimalWriter, type DecimalWriter } from './decimal-text.ts'
import { SystemColumns } from './system-columns.ts'
import { compileValidator, type Validator } from './validate.ts'

export interface StreamDoor {
  readonly name: string
  readonly plan: StreamPlan
  readonly declared: boolean
  readonly validate: Validator
  readonly columns: SystemColumns
  /** For streams with decimal columns. */
  readonly decimals: DecimalWriter | undefined
}

/**
 * @param nestingMax levels of objects and arrays in one event
 * @throws FreshetError `config_invalid` when the stream's schema cannot be compiled
 */
export function openDoor(plan: StreamPlan, nestingMax: number, declared: boolean): StreamDoor {
  const validate = compileValidator(plan, nestingMax)
  const decimals = createDecimalWriter(plan.columns && namedFields(plan.columns, eventNaming(plan.renames)))
  return { name: plan.name, plan, declared, validate, columns: new SystemColumns(plan), decimals }
}
