import type { Plan } from '../config/plan.ts'

/** The consumers that a plan has, by the stream that they read. */
export function consumersOf({ streams, sinks }: Pick<Plan, 'streams' | 'sinks'>): Map<string, string[]> {
  const consumers = new Map<string, string[]>()
  const add = (from: string, name: string): void => {
    consumers.set(from, [...(consumers.get(from) ?? []), name])
  }
  for (const { name, transform } of Object.values(streams)) if (transform) add(transform.from, `transform:${name}`)
  for (const { name, from } of Object.values(sinks)) add(from, `sink:${name}`)
  return consumers
}
