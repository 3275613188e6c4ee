/**
 * The benchmarks: `npm run bench -- [--quick] [--only NAME] [--json FILE]`. Each measures itself and its limit in one run and
 * checks the rows at the end. Wrong rows make the exit code 1; a missed goal does not.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { commitGrowth } from './benchmarks/commit-growth.ts'
import { compaction } from './benchmarks/compaction.ts'
import { dedupeGrowth } from './benchmarks/dedupe-growth.ts'
import { endToEnd } from './benchmarks/end-to-end.ts'
import { freshnessBusy } from './benchmarks/freshness-busy.ts'
import { freshness } from './benchmarks/freshness.ts'
import { idle } from './benchmarks/idle.ts'
import { ingestBatch } from './benchmarks/ingest-batch.ts'
import { ingestSingle } from './benchmarks/ingest-single.ts'
import { loadUnderUpkeep } from './benchmarks/load-under-upkeep.ts'
import { load } from './benchmarks/load.ts'
import { memory } from './benchmarks/memory.ts'
import { planGrowth } from './benchmarks/plan-growth.ts'
import { rollupLate } from './benchmarks/rollup-late.ts'
import { query } from './benchmarks/query.ts'
import { recovery } from './benchmarks/recovery.ts'
import { sinkPostgres } from './benchmarks/sink-postgres.ts'
import { transform } from './benchmarks/transform.ts'
import { Lab } from './harness/lab.ts'
import { describeMachine } from './harness/machine.ts'
import { resultTable, type Result } from './harness/result.ts'

/** By name, in the order they run. `memory` and `query` look at the run that `end-to-end` makes. */
const benchmarks: Readonly<Record<string, (lab: Lab) => Promise<Result>>> = {
  'ingest-batch': ingestBatch,
  'ingest-single': ingestSingle,
  load,
  'dedupe-growth': dedupeGrowth,
  'commit-growth': commitGrowth,
  'plan-growth': planGrowth,
  'rollup-late': rollupLate,
  compaction,
  'load-under-upkeep': loadUnderUpkeep,
  'end-to-end': endToEnd,
  memory,
  query,
  freshness,
  'freshness-busy': freshnessBusy,
  recovery,
  idle,
  transform,
  'sink-postgres': sinkPostgres,
}

const interruptedCode = 130

interface Options {
  quick: boolean
  only: readonly string[]
  json: string | undefined
}

/** @throws Error naming the benchmarks there are, for a name that is none of them */
function readOptions(): Options {
  const { values } = parseArgs({
    options: {
      quick: { type: 'boolean', default: false },
      only: { type: 'string', multiple: true, default: [] },
      json: { type: 'string' },
    },
  })
  const unknown = values.only.find((name) => !Object.hasOwn(benchmarks, name))
  if (unknown !== undefined) {
    throw new Error(`there is no benchmark "${unknown}"; there are: ${Object.keys(benchmarks).join(', ')}`)
  }
  return { quick: values.quick, only: values.only, json: values.json }
}

async function main(options: Options): Promise<number> {
  // Below the repository and not in the temporary folder, which may be memory: what is measured is a disk.
  const parent = join(import.meta.dirname, '..', '.freshet')
  mkdirSync(parent, { recursive: true })
  const root = mkdtempSync(join(parent, 'bench-'))
  const lab = new Lab({ quick: options.quick, root, say: (line) => console.log(`  ${line}`) })
  let interrupted = false
  const leave = (): void => {
    if (interrupted) return
    interrupted = true
    void lab.close().finally(() => {
      rmSync(root, { recursive: true, force: true, maxRetries: 3 })
      process.exit(interruptedCode)
    })
  }
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, leave)

  const results: Result[] = []
  const failures: string[] = []
  const machine = describeMachine(root)
  const names = Object.keys(benchmarks).filter((name) => options.only.length === 0 || options.only.includes(name))
  for (const name of names) {
    console.log(`${name} ...`)
    const startedAt = performance.now()
    try {
      results.push(await benchmarks[name]!(lab))
    } catch (error) {
      if (interrupted) return interruptedCode
      failures.push(name)
      console.error(`${name} failed: ${error instanceof Error ? error.message : String(error)}`)
    } finally {
      await lab.close()
    }
    lab.say(`took ${Math.round((performance.now() - startedAt) / 1000)} s`)
  }
  rmSync(root, { recursive: true, force: true, maxRetries: 3 })
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify({ machine, results }, undefined, 2)}\n`)
  console.log(
    `\n${machine.cores} cores, ${machine.cpu}, Node ${machine.node}, a synced write in ${machine.diskSyncMs} ms\n`,
  )
  console.log(resultTable(results))
  if (failures.length > 0) console.error(`\nfailed: ${failures.join(', ')}`)
  return failures.length === 0 ? 0 : 1
}

try {
  process.exitCode = await main(readOptions())
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error))
  process.exitCode = 1
}
