import { setTimeout as delay } from 'node:timers/promises'

/** How long a condition may take to come true. Far more than it needs: only one that never comes true meets it. */
export const patience = { timeout: 45_000, interval: 25 }

/** Waits until a condition holds. @throws when it never does, or what `holds` throws */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + patience.timeout
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`Waited in vain until ${what}`)
    await delay(5)
  }
}
