import { loadConfig, type LoadOptions } from '../config/load.ts'
import type { Plan } from '../config/plan.ts'
import { sinkKinds } from '../sinks/kinds.ts'

/** Finds, runs and checks the configuration, with the settings of every kind of sink. @throws as `loadConfig` does */
export function loadPlan(options: Omit<LoadOptions, 'sinkKinds'>): Promise<Plan> {
  return loadConfig({ ...options, sinkKinds })
}
