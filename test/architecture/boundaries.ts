import type { SourceModule } from './source-tree.ts'

/** Which folder may import which: from lower levels anything, on its own level only the contracts, from higher ones nothing. */
const levels: readonly (readonly string[])[] = [
  ['runtime'],
  ['config'],
  ['events', 'log', 'storage', 'lake', 'sites', 'access', 'objects'],
  ['engine', 'gateway', 'streams', 'sinks', 'serving'],
  ['app'],
  ['cli'],
  ['index.ts'],
]

/** The files by which folders of one level know each other, with the interface that backends implement, where there is one. */
export const contracts: Readonly<Record<string, string | undefined>> = {
  'config/plan.ts': undefined,
  'log/log.ts': 'Log',
  'storage/object-store.ts': 'ObjectStore',
  'lake/catalog.ts': 'Catalog',
  'sites/site-registry.ts': 'SiteRegistry',
  'objects/object-reader.ts': 'ObjectReader',
  'sinks/sink.ts': 'Sink',
}

/** Folders that implement a contract: only `app` picks among them. */
const backendFolder = /^(log\/[^/]+|storage\/[^/]+|sites\/[^/]+|lake\/[^/]*-catalog)\//

const folderOf = (path: string): string => path.split('/')[0]!

const levelOf = (folder: string): number => levels.findIndex((level) => level.includes(folder))

/** Everything in a tree that breaks the rules on dependencies, one sentence each. */
export function boundaryViolations(modules: readonly SourceModule[]): string[] {
  return [...modules.flatMap(moduleViolations), ...circles(modules)]
}

function moduleViolations(module: SourceModule): string[] {
  const { path } = module
  const folder = folderOf(path)
  const found: string[] = []
  if (levelOf(folder) < 0) found.push(`${path}: the folder ${folder} has no level`)
  if (module.readsEnvironment && folder !== 'app' && folder !== 'cli') {
    found.push(`${path}: only app/ and cli/ read the environment`)
  }
  for (const { specifier, target, package: packageName } of module.imports) {
    if (packageName?.startsWith('@duckdb/') === true && folder !== 'engine') {
      found.push(`${path}: only engine/ imports ${packageName}`)
    }
    if (packageName === 'freshet') found.push(`${path}: imports its own package as "${specifier}"`)
    if (target !== undefined) found.push(...targetViolations(path, target))
    else if (packageName === undefined) found.push(`${path}: "${specifier}" leads out of the tree or to no file`)
  }
  return found
}

function targetViolations(path: string, target: string): string[] {
  const from = folderOf(path)
  const to = folderOf(target)
  if (from === to) return []
  if (levelOf(to) > levelOf(from)) return [`${path}: imports ${target}, which is on a higher level`]
  if (levelOf(to) === levelOf(from) && !Object.hasOwn(contracts, target)) {
    return [`${path}: imports ${target}, which is on the same level and no contract`]
  }
  if (backendFolder.test(target) && from !== 'app')
    return [`${path}: imports the backend ${target}; only app/ picks one`]
  return []
}

/** Circles between folders, each named once by the folders on it. */
function circles(modules: readonly SourceModule[]): string[] {
  const graph = new Map<string, Set<string>>()
  for (const { path, imports } of modules) {
    const from = folderOf(path)
    const targets = graph.get(from) ?? new Set()
    graph.set(from, targets)
    for (const { target } of imports)
      if (target !== undefined && folderOf(target) !== from) targets.add(folderOf(target))
  }
  const found = new Set<string>()
  const walk = (folder: string, trail: readonly string[]): void => {
    const start = trail.indexOf(folder)
    if (start >= 0) {
      found.add(`folders import each other in a circle: ${trail.slice(start).toSorted().join(', ')}`)
      return
    }
    for (const next of graph.get(folder) ?? []) walk(next, [...trail, folder])
  }
  for (const folder of graph.keys()) walk(folder, [])
  return [...found].toSorted()
}
