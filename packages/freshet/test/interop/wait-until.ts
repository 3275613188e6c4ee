/** Waits for a condition, asked again and again; at most a minute. */
export async function waitUntil(holds: () => Promise<boolean>): Promise<void> {
  const startedMs = performance.now()
  while (!(await holds())) {
    if (performance.now() - startedMs > 60_000) throw new Error('what was waited for did not come about')
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
